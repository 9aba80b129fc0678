"""The values of headers that go to an endpoint. They are secrets, so they are never shown.

A specification that is stored has them encrypted (`core.secrets.endpoint_headers`). JSON made of an endpoint
has either the encrypted value or stars, and never the value itself.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, SecretStr, StringConstraints, WithJsonSchema

from core.errors import InvalidRequest

HIDDEN = "**********"  # stands for a value where an endpoint is shown
SEALED = "tunery-sealed:"  # begins a value that is encrypted
MAX_VALUE = 8192  # characters
NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")
# Headers that belong to the request itself, or say what it is
OWN = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
        *("traceparent", "tracestate", "webhook-id", "webhook-signature", "webhook-timestamp"),
    )
)


def _stored(value: SecretStr) -> str:
    text = value.get_secret_value()
    return text if text.startswith(SEALED) else HIDDEN


HeaderName = Annotated[str, StringConstraints(pattern=NAME.pattern)]
HeaderValue = Annotated[
    SecretStr,
    PlainSerializer(_stored, return_type=str, when_used="json"),
    # One schema for what is sent and for what is shown
    WithJsonSchema({"type": "string", "format": "password", "writeOnly": True}),
]


def with_hidden_headers(stored: Any) -> Any:
    """Return JSON that holds graders and tools, with stars in place of the values of their headers."""
    if isinstance(stored, list):
        return [with_hidden_headers(each) for each in stored]
    if not isinstance(stored, dict):
        return stored
    shown = {name: with_hidden_headers(value) for name, value in stored.items()}
    is_endpoint = shown.get("type") == "endpoint" or "server_url" in shown
    if is_endpoint and isinstance(shown.get("headers"), dict):
        shown["headers"] = dict.fromkeys(shown["headers"], HIDDEN)
    return shown


def check_headers(headers: Mapping[str, SecretStr], param: str) -> None:
    """Raise InvalidRequest for a header of a request that cannot be sent. The message never has its value."""
    names: set[str] = set()
    for name, value in headers.items():
        reason = _wrong_name(name, names) or _wrong_value(value.get_secret_value())
        if reason is not None:
            message = f"The header '{name}' cannot be sent: {reason}."
            raise InvalidRequest(message, code="invalid_value", param=f"{param}.{name}")
        names.add(name.lower())


def _wrong_name(name: str, others: set[str]) -> str | None:
    if name.lower() in OWN:
        return "Tunery sets it itself"
    return "it is there twice, in other letters" if name.lower() in others else None


def _wrong_value(value: str) -> str | None:
    if value == HIDDEN or value.startswith(SEALED):
        return "this is how a value is shown or stored. Send the value itself"
    is_printable = value.isascii() and value.isprintable() and value.strip() == value
    if is_printable and 0 < len(value) <= MAX_VALUE:
        return None
    return f"its value must have 1 to {MAX_VALUE} printable ASCII characters, without a space at either end"
