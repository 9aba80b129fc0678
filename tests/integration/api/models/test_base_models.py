"""The operator's catalog: from a hub that stands in for the real one to a model that jobs can name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete

from core.catalog import SMOLLM2
from core.database import from_now
from core.roles import Role
from core.tables import Worker
from tests.fixtures.outside.hub import lead_to_hub
from tests.fixtures.outside.hub_of_models import COMMIT, ModelHub, hub_with, publish
from tests.fixtures.service.api import Api, Tenant, refusal

BASE_MODELS = "/v1/organization/base_models"
NAME = "example/Eight-Billion"
CHECKED = {
    *("licence", "weights", "architecture", "what trains", "adapter loads in", "tokenizer"),
    "chat template",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ModelHub]:
    with hub_with(NAME, tmp_path / "published") as hub:
        yield hub


@pytest.fixture
def bare(api: Api, tmp_path: Path) -> Iterator[Api]:
    """Yield an installation without a catalog file, whose operator has an empty TUNERY_HOME."""
    with api.beside(catalog_file=None, home=tmp_path / "home") as bare:
        yield bare


@pytest.fixture
def operator(api: Api) -> Tenant:
    return api.tenant("default", Role.ADMIN)


@pytest.fixture
def bare_operator(bare: Api) -> Tenant:
    """Return the operator of the installation without a catalog file."""
    return bare.tenant("default", Role.ADMIN)


@pytest.fixture
def worker(api: Api) -> Iterator[str]:
    """Yield the name of the card of a worker that is there."""
    with api.sessions.begin() as session:
        session.add(there := a_worker())
        owner, name = there.owner, there.device_name
    yield name
    with api.sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.owner == owner))


def a_worker() -> Worker:
    """Return the row of a worker with a card of 12 GB."""
    return Worker(
        owner="a-host:an-owner",
        host="a-host",
        release="0.1.0",
        devices=1,
        device_type="cuda",
        device_name="NVIDIA RTX 3060",
        number_bytes=2,
        lanes=1,
        memory_bytes=12 * 1024**3,
        memory_used_bytes=0,
        base_model=None,
        expires_at=from_now(600),
    )


def offered(tenant: Tenant) -> list[str]:
    return [model.id for model in tenant.openai.models.list()]


def post(tenant: Tenant, path: str = "", /, **body: Any) -> Any:
    return tenant.http.post(BASE_MODELS + path, json={"repository": NAME, **body})


def test_a_model_is_looked_at_added_used_and_removed_without_a_restart(
    bare: Api, bare_operator: Tenant, hub: ModelHub
) -> None:
    member = bare.tenant()
    found = post(bare_operator, "/check").json()
    assert found["trainable"]
    assert {part["name"]: part["state"] for part in found["checks"]} == dict.fromkeys(CHECKED, "ok")
    of_template = next(part for part in found["checks"] if part["name"] == "chat template")
    assert of_template["found"] == "there, with no place for tools"
    assert "16.0 GiB" in next(part["found"] for part in found["checks"] if part["name"] == "weights")
    assert found["catalog_file"] is None
    assert offered(member) == [SMOLLM2.id]

    added = post(bare_operator, revision=found["model"]["revision"], id="eight", max_length=4096)
    assert added.status_code == 200, added.text
    model = added.json()["model"]
    assert (model["id"], model["revision"], model["max_length"]) == ("eight", COMMIT, 4096)
    assert Path(added.json()["catalog_file"]).read_text().count("[[model]]") == 2
    assert offered(member) == [SMOLLM2.id, "eight"]
    assert member.create_job(model="eight")["model"] == "eight"

    removed = bare_operator.http.delete(f"{BASE_MODELS}/eight")
    assert removed.json() == {"id": "eight", "object": "base_model", "deleted": True}
    assert offered(member) == [SMOLLM2.id]
    log = bare_operator.http.get("/v1/organization/audit_logs").json()["data"]
    removal, addition = [entry for entry in log if entry["type"].startswith("base_model.")][:2]
    assert (removal["type"], addition["type"]) == ("base_model.removed", "base_model.added")
    assert addition["details"] == {"repository": NAME, "revision": COMMIT, "license": "apache-2.0"}


def test_a_retried_addition_offers_a_model_that_was_removed_since_the_equal_one(
    bare: Api, bare_operator: Tenant, hub: ModelHub
) -> None:
    """Its first try was refused, for example because the server was busy."""
    body = {"repository": NAME, "id": "eight", "max_length": 4096}
    for count in "011":
        headers = {"x-stainless-retry-count": count}
        added = bare_operator.http.post(BASE_MODELS, json=body, headers=headers)
        assert added.status_code == 200, added.text
        assert offered(bare_operator) == [SMOLLM2.id, "eight"]
        if count == "0":
            assert bare_operator.http.delete(f"{BASE_MODELS}/eight").is_success


def test_where_a_job_fits_begins_with_the_workers_that_are_there(
    operator: Tenant, hub: ModelHub, worker: str
) -> None:
    first, *cards = post(operator, "/check").json()["fits"]
    assert (first["device"], first["here"]) == (worker, True)
    assert first["precisions"] == {"none": "does not fit", "int8": "fits, slower", "nf4": "fits, slower"}
    assert {card["here"] for card in cards} == {False}
    assert next(card for card in cards if "H200" in card["device"])["precisions"]["none"] == "fits"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "unheard_of"}, "transformers has no causal model of this type"),
        ({"quantization_config": {"quant_method": "gptq"}}, "source weights are quantised (gptq)"),
        ({"model_type": None}, "no config"),
    ],
)
def test_a_model_that_jobs_cannot_train_is_shown_and_not_added(
    api: Api, operator: Tenant, hub: ModelHub, tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    publish(hub, "example/Wrong", tmp_path / "wrong", **config)
    seen = post(operator, "/check", repository="example/Wrong")
    assert seen.status_code == 200, seen.text
    assert not seen.json()["trainable"]
    error = refusal(post(operator, repository="example/Wrong"), 400, "repository", "model_not_trainable")
    assert says in error["message"]
    assert "wrong" not in offered(operator)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"repository": "example/Absent"}, "repository", "model_not_found"),
        ({"revision": "no-such-branch"}, "revision", "revision_not_found"),
        ({"repository": "a/b/c"}, "repository", None),
        ({"repository": "../../etc"}, "repository", None),
        ({"id": "no spaces"}, "id", None),
        ({"max_length": 7}, "max_length", None),
        ({"quantization": "int4"}, "quantization", None),
        ({"path": "/etc"}, "path", None),
    ],
)
@pytest.mark.parametrize("path", ["", "/check"])
def test_errors_name_what_is_wrong(
    operator: Tenant, hub: ModelHub, path: str, body: dict[str, Any], param: str, code: str | None
) -> None:
    refusal(post(operator, path, **body), 400, param, code)


def test_sizes_that_no_model_has_are_no_fault_of_the_server(
    operator: Tenant, hub: ModelHub, tmp_path: Path
) -> None:
    hostile = {"num_attention_heads": 0, "hidden_size": -1, "vocab_size": 10**400, "text_config": ["x"]}
    publish(hub, "example/Hostile", tmp_path / "hostile", **hostile)
    seen = post(operator, "/check", repository="example/Hostile")
    assert (seen.status_code, seen.json()["fits"]) == (200, [])


def test_a_gated_model_needs_the_apis_token(
    operator: Tenant, hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(NAME)
    error = refusal(post(operator, "/check"), 400, "repository", "model_gated")
    assert "HF_TOKEN" in error["message"]
    monkeypatch.setenv("HF_TOKEN", ModelHub.TOKEN)
    assert post(operator, "/check").status_code == 200


def test_a_hub_that_is_away_is_no_fault_of_the_request(
    operator: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to_hub(monkeypatch, "http://127.0.0.1:9")
    error = refusal(post(operator, "/check"), 503, None, "hub_unavailable")
    assert "HF_ENDPOINT" in error["message"]
    assert "127.0.0.1" not in error["message"]


def test_a_model_is_not_added_twice_but_an_answer_that_was_lost_is_repeated(
    bare_operator: Tenant, hub: ModelHub
) -> None:
    body = {"repository": NAME}
    key = {"idempotency-key": uuid4().hex}
    first, again = (bare_operator.http.post(BASE_MODELS, json=body, headers=key) for _ in range(2))
    assert (first.status_code, again.json()) == (200, first.json())
    refusal(bare_operator.http.post(BASE_MODELS, json=body), 409, "id", "model_already_offered")


def test_the_last_model_stays_and_an_unknown_one_is_not_found(bare_operator: Tenant) -> None:
    refusal(bare_operator.http.delete(f"{BASE_MODELS}/{SMOLLM2.id}"), 409, None, "last_model")
    refusal(bare_operator.http.delete(f"{BASE_MODELS}/absent"), 404, "model", "model_not_found")


def test_a_catalog_that_the_api_may_not_write_is_an_error_that_says_what_to_do(
    bare: Api, bare_operator: Tenant, hub: ModelHub
) -> None:
    home = bare.settings.own_catalog.parent
    home.parent.mkdir(exist_ok=True)
    home.write_text("")  # so that nobody can make the folder, not even root
    error = refusal(post(bare_operator, id="never"), 409, None, "catalog_not_changed")
    assert "right to write" in error["message"]
    assert "TUNERY_CATALOG_FILE" in error["message"]
    log = bare_operator.http.get("/v1/organization/audit_logs").json()["data"]
    assert "never" not in [entry["resource_id"] for entry in log]


def test_the_catalog_is_read_page_by_page(operator: Tenant) -> None:
    whole = [model["id"] for model in operator.http.get(BASE_MODELS).json()["data"]]
    assert whole == sorted(whole)
    assert len(whole) > 2
    read: list[str] = []
    asked = {"limit": "1"}
    while (page := operator.http.get(BASE_MODELS, params=asked).json())["data"]:
        read += [model["id"] for model in page["data"]]
        asked["after"] = page["last_id"]
        assert page["has_more"] == (len(read) < len(whole))
    assert read == whole
    refusal(operator.http.get(BASE_MODELS, params={"after": "an id!"}), 400, "after", "invalid_cursor")


@pytest.mark.parametrize(("project", "role"), [("default", Role.MEMBER), ("another", Role.ADMIN)])
def test_only_an_admin_key_of_the_operator_may(api: Api, project: str, role: Role) -> None:
    tenant = api.tenant(project, role)
    assert tenant.http.get("/v1/session").json()["is_operator"] is False
    for answer in (
        tenant.http.get(BASE_MODELS),
        post(tenant, "/check"),
        post(tenant),
        tenant.http.delete(f"{BASE_MODELS}/tiny-model"),
    ):
        refusal(answer, 403, None, "insufficient_permissions")
    assert api.tenant("default", Role.ADMIN).http.get("/v1/session").json()["is_operator"] is True
