"""/v1/methods: the adapters that a job may have, with schemas by which a client can check an adapter."""

from typing import Any

import jsonschema
import pytest

from core.methods.registry import METHODS
from tests.fixtures.models.unsuitable import defaults_of
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal

pytestmark = pytest.mark.family(10)


@pytest.fixture(scope="module")
def lora(alice: Tenant) -> dict[str, Any]:
    found: dict[str, Any] = alice.http.get("/v1/methods/lora").json()
    return found


def test_the_methods_on_offer_are_listed_and_no_other(alice: Tenant) -> None:
    page = alice.http.get("/v1/methods").json()
    assert (page["object"], page["has_more"]) == ("list", False)
    assert [method["id"] for method in page["data"]] == list(METHODS)
    for method in page["data"]:
        assert method == alice.http.get(f"/v1/methods/{method['id']}").json()


def test_a_method_is_told_with_its_paper_and_its_options(lora: dict[str, Any]) -> None:
    assert (lora["id"], lora["object"], lora["title"]) == ("lora", "method", "LoRA")
    assert lora["paper"]["url"] == "https://arxiv.org/abs/2106.09685"
    assert (lora["trains"], lora["learning_rate"]) == ("cohort", 2e-4)
    assert "vLLM" in lora["runtimes"]
    assert lora["schema"]["properties"]["r"]["default"] == 16


def test_a_method_says_whether_it_leaves_an_adapter_or_a_model(alice: Tenant) -> None:
    results = {method["id"]: method["result"] for method in alice.http.get("/v1/methods").json()["data"]}
    assert [name for name, result in results.items() if result == "model"] == ["full"]
    assert results["lora"] == "adapter"


def test_a_method_that_is_not_on_offer_is_not_there(alice: Tenant) -> None:
    error = refusal(
        alice.http.get("/v1/methods/no-such-method"), 404, param="method_type", code="method_not_found"
    )
    assert "On offer: lora" in error["message"]


@pytest.mark.parametrize(
    ("adapter", "allowed"),
    [
        ({"type": "lora", "r": 8, "use_dora": False, "rank_pattern": {}}, True),
        ({"target_modules": ["q_proj"], "use_rslora": True}, True),
        ({"type": "lora", "r": 0}, False),
        ({"target_modules": [], "target_parameters": ["mlp.experts.down_proj"]}, True),
        ({"type": "lora", "target_modules": "all"}, False),
        ({"type": "lora", "rank": 8}, False),
        ({"type": "no-such-method"}, False),
    ],
)
def test_the_schema_tells_what_a_job_takes(
    alice: Tenant, training_file: str, lora: dict[str, Any], adapter: dict[str, Any], allowed: bool
) -> None:
    body = {"model": BASE_MODEL, "training_file": training_file, "adapter": adapter}
    assert alice.http.post("/v1/fine_tuning/jobs", json=body).is_success == allowed
    assert jsonschema.Draft202012Validator(lora["schema"]).is_valid(adapter) == allowed


def below_what_is_allowed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a value that is too small for the first option with a lower bound, or {} if there is none."""
    for name, field in schema["properties"].items():
        for kind in field.get("anyOf", [field]):
            if "minItems" in kind:
                return {name: []}
            for bound, step in (("minimum", 1), ("exclusiveMinimum", 0)):
                if bound in kind:
                    return {name: kind[bound] - step}
    return {}


def is_taken(alice: Tenant, training_file: str, adapter: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a job with this adapter is created, and if not, the parameter that the error names."""
    body = {"model": BASE_MODEL, "training_file": training_file, "adapter": adapter}
    answer = alice.http.post("/v1/fine_tuning/jobs", json=body)
    return answer.is_success, "" if answer.is_success else answer.json()["error"]["param"]


@pytest.mark.parametrize("method", METHODS)
def test_the_schema_of_every_method_tells_what_a_job_takes(
    alice: Tenant, training_file: str, method: str
) -> None:
    schema = alice.http.get(f"/v1/methods/{method}").json()["schema"]
    validator = jsonschema.Draft202012Validator(schema)
    defaults = {name: each["default"] for name, each in schema["properties"].items() if "default" in each}
    asked = {**defaults, **defaults_of(method)}
    assert validator.is_valid(asked)
    assert is_taken(alice, training_file, asked) == (True, "")

    too_small = below_what_is_allowed(schema)
    assert too_small or len(schema["properties"]) == 1
    for wrong in filter(None, (too_small, {"no_such_option": 1})):
        assert not validator.is_valid({**asked, **wrong})
        assert is_taken(alice, training_file, {**asked, **wrong}) == (False, f"adapter.{next(iter(wrong))}")


def test_the_document_tells_the_types_that_are_on_offer_and_no_other(api: Api) -> None:
    openapi = api.app.openapi()
    adapter = openapi["components"]["schemas"]["CreateJob"]["properties"]["adapter"]["anyOf"][0]
    assert adapter["discriminator"]["mapping"].keys() == METHODS.keys()
