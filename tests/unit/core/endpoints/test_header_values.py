"""The headers of graders and tools: what can be sent, and that no JSON has a value in clear."""

from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from core.endpoints.header_values import HIDDEN, MAX_VALUE, SEALED, check_headers, with_hidden_headers
from core.endpoints.tools import EndpointTool
from core.errors import InvalidRequest
from core.graders.schemas import Grader
from core.secrets.endpoint_headers import Signing, resealed, with_sealed_headers
from core.secrets.vault import UnreadableSecret, Vault

GRADER: TypeAdapter[Any] = TypeAdapter(Grader)
EITHER: TypeAdapter[Any] = TypeAdapter(Grader | EndpointTool)
VALUE = "Bearer of-what-must-stay-hidden"
ENDPOINT = {"type": "endpoint", "name": "remote", "url": "https://example.com/", "headers": {"X-Key": VALUE}}
MULTI = {"type": "multi", "name": "all", "graders": {"a": ENDPOINT}, "calculate_output": "a"}
TOOL = {"name": "weather", "server_url": "https://example.com/call", "headers": {"X-Key": VALUE}}
SIGNING = Signing((), None, 0.0)  # type: ignore[arg-type] # nothing is signed here


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Host", "a", "sets it itself"),
        ("content-LENGTH", "a", "sets it itself"),
        ("Webhook-Signature", "a", "sets it itself"),
        ("X-Key", "", "printable ASCII"),
        ("X-Key", " a", "printable ASCII"),
        ("X-Key", "a\r\nhost: b", "printable ASCII"),
        ("X-Key", "a\nb", "printable ASCII"),
        ("X-Key", "ä", "printable ASCII"),
        ("X-Key", "a" * (MAX_VALUE + 1), "printable ASCII"),
        ("X-Key", HIDDEN, "Send the value itself"),
        ("X-Key", f"{SEALED}abc", "Send the value itself"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(
    name: str, value: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        check_headers({name: SecretStr(value)}, "grader.headers")
    assert refused.value.param == f"grader.headers.{name}"
    assert len(value) < 3 or value == HIDDEN or value not in refused.value.message


@pytest.mark.parametrize("name", ["X Key", "", "X-Kéy", "x" * 129, "x\r\ny", "x\n", "x:"])
def test_what_is_no_name_of_a_header_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        GRADER.validate_python({**ENDPOINT, "headers": {name: "a"}})


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="there twice"):
        check_headers({"X-Key": SecretStr("a"), "x-key": SecretStr("b")}, "grader.headers")


@pytest.mark.parametrize("given", [ENDPOINT, MULTI, TOOL])
def test_no_form_of_an_endpoint_shows_a_value(given: dict[str, Any]) -> None:
    endpoint = EITHER.validate_python(given)
    sealed = with_sealed_headers(Vault(Vault.new_key()), endpoint)
    for each in (endpoint, sealed):
        shown = [repr(each), str(each), each.model_dump_json(), str(each.model_dump(mode="json"))]
        assert not any(VALUE in text for text in shown)
    assert HIDDEN in str(endpoint.model_dump(mode="json"))
    stored = sealed.model_dump(mode="json")
    assert SEALED in str(stored)
    hidden = with_hidden_headers({"spec": [stored]})
    assert SEALED not in str(hidden)
    assert HIDDEN in str(hidden)


@pytest.mark.parametrize("given", [ENDPOINT, TOOL])
def test_what_is_stored_opens_for_its_own_address_alone(given: dict[str, Any]) -> None:
    vault = Vault(Vault.new_key())
    stored = with_sealed_headers(vault, EITHER.validate_python(given)).model_dump(mode="json")
    read = EITHER.validate_python(stored)
    assert SIGNING.credentials(vault, read).headers == {"X-Key": VALUE}
    moved = EITHER.validate_python({**stored, read.address_field: "https://example.org/"})
    with pytest.raises(UnreadableSecret, match="another address"):
        SIGNING.credentials(vault, moved)
    with pytest.raises(UnreadableSecret):
        SIGNING.credentials(Vault(Vault.new_key()), read)


def test_stored_headers_are_encrypted_again_with_a_new_key() -> None:
    old, new = Vault.new_key(), Vault.new_key()
    spec = {"objective": {"grader": with_sealed_headers(Vault(old), GRADER.validate_python(MULTI))}}
    stored = {"objective": {"grader": spec["objective"]["grader"].model_dump(mode="json")}, "seed": 1}
    again = resealed(Vault(f"{new},{old}"), stored)
    read = GRADER.validate_python(again["objective"]["grader"])
    assert SIGNING.credentials(Vault(new), read.by_name["a"]).headers == {"X-Key": VALUE}
    assert again["seed"] == 1


def test_a_grader_without_headers_needs_no_key() -> None:
    grader = GRADER.validate_python({**ENDPOINT, "headers": None})
    assert with_sealed_headers(Vault(None), grader) == grader
