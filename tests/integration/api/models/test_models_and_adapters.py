"""/v1/models and /v1/adapters over real HTTP."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from openai.types import Model, ModelDeleted

from api.http.archive import zipped
from core.storage.object_store import ObjectStore
from core.tables import Adapter
from tests.fixtures.service.api import BASE_MODEL, QUANTISED_MODEL, Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.service.janitor import pass_time
from worker.supervisor.emptying import RETRY
from worker.supervisor.janitor import Janitor, clean
from worker.supervisor.retention import Retention


class Trained(NamedTuple):
    job_id: str
    adapter_id: str
    model: str
    folder: Path


@pytest.fixture
def trained(api: Api, alice: Tenant, adapter_folder: Path) -> Trained:
    job_id = alice.create_job(suffix="v1")["id"]
    adapter_id = api.finish(api.claim(job_id), adapter_folder)
    return Trained(job_id, adapter_id, alice.job(job_id)["fine_tuned_model"], adapter_folder)


def test_base_and_fine_tuned_models_are_listed(alice: Tenant, trained: Trained) -> None:
    listed = alice.http.get("/v1/models").json()
    models = {model["id"]: strictly(Model, model) for model in listed["data"]}

    assert listed["object"] == "list"
    assert list(models)[:3] == [BASE_MODEL, "small-model", QUANTISED_MODEL]
    assert (models[BASE_MODEL].created, models[BASE_MODEL].owned_by) == (1700000000, "example")
    assert models[trained.model].owned_by == "alice"
    assert [model.id for model in alice.openai.models.list()] == list(models)


def test_a_base_model_tells_until_when_it_is_on_offer(alice: Tenant) -> None:
    told = {model.id: model.shutdown_date for model in alice.openai.models.list()}
    assert (told["small-model"], told[BASE_MODEL]) == ("2031-01-31", None)
    assert alice.http.get("/v1/models/").json() == alice.http.get("/v1/models").json()


def test_the_list_of_models_ends_after_the_newest(
    api: Api, adapter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = api.tenant()
    names = []
    for _ in range(3):
        job_id = tenant.create_job()["id"]
        api.finish(api.claim(job_id), adapter_folder)
        names.append(tenant.job(job_id)["fine_tuned_model"])
    for most, newest, has_more in ((3, names[::-1], False), (2, names[:0:-1], True)):
        monkeypatch.setattr("api.models.service.LISTED", most)
        listed = tenant.http.get("/v1/models").json()
        tuned = [model["id"] for model in listed["data"] if model["id"].startswith("ft:")]
        assert (tuned, listed["has_more"]) == (newest, has_more)


def test_a_base_model_tells_how_it_is_quantised(alice: Tenant, trained: Trained) -> None:
    listed = {model["id"]: model["quantization"] for model in alice.http.get("/v1/models").json()["data"]}
    assert {name for name, quantization in listed.items() if quantization} == {QUANTISED_MODEL}
    assert listed[QUANTISED_MODEL] == "nf4"
    assert listed[trained.model] is None
    assert alice.http.get(f"/v1/models/{QUANTISED_MODEL}").json()["quantization"] == "nf4"


def test_a_model_is_read_by_its_name(alice: Tenant, trained: Trained) -> None:
    for name in (BASE_MODEL, trained.model):
        assert strictly(Model, alice.http.get(f"/v1/models/{name}").json()).id == name
        assert alice.openai.models.retrieve(name).id == name
    for name in ("unheard-of", "with/a/slash", trained.model + "x", "ft:"):
        error = refusal(alice.http.get(f"/v1/models/{name}"), 404, "model", "model_not_found")
        assert name in error["message"]
    with pytest.raises(openai.NotFoundError):
        alice.openai.models.retrieve("unheard-of")


def test_a_project_whose_name_holds_a_slash_has_models_too(api: Api, adapter_folder: Path) -> None:
    tenant = api.tenant("team/research")
    job_id = tenant.create_job()["id"]
    api.finish(api.claim(job_id), adapter_folder)
    name = tenant.job(job_id)["fine_tuned_model"]
    assert "team/research" in name
    assert tenant.openai.models.retrieve(name).id == name


@pytest.mark.parametrize("by", ["model", "adapter"])
def test_a_deleted_model_is_gone_with_its_adapter_and_the_job_stays(
    api: Api, alice: Tenant, trained: Trained, by: str, closed_port: int
) -> None:
    path = f"/v1/models/{trained.model}" if by == "model" else f"/v1/adapters/{trained.adapter_id}"
    job = alice.job(trained.job_id)
    with api.sessions() as session:
        prefix = session.get_one(Adapter, trained.adapter_id).object_prefix

    deleted = alice.http.delete(path)

    if by == "model":
        assert strictly(ModelDeleted, deleted.json()).id == trained.model
    assert deleted.json()["deleted"]
    refusal(alice.http.delete(path), 404, "model" if by == "model" else "adapter_id")
    assert trained.model not in [model.id for model in alice.openai.models.list()]
    refusal(alice.http.get(f"/v1/models/{trained.model}"), 404, "model")
    for rest in ("", "/content", "/files/manifest.json"):
        refusal(alice.http.get(f"/v1/adapters/{trained.adapter_id}{rest}"), 404, "adapter_id")
    assert trained.adapter_id not in [row["id"] for row in alice.http.get("/v1/adapters").json()["data"]]
    assert alice.job(trained.job_id) == job
    assert api.store.list(prefix)  # a client that reads them now can finish

    clean(api.sessions, ObjectStore(f"http://127.0.0.1:{closed_port}", "nowhere", retries=0))
    pass_time(api.sessions, RETRY)
    janitor = Janitor(api.sessions, api.store, 0.01, Retention())
    janitor.start()
    wait_for(lambda: not api.store.list(prefix))
    janitor.stop()


def test_what_is_no_model_of_the_project_cannot_be_deleted(api: Api, alice: Tenant, trained: Trained) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="base model"):
        alice.openai.models.delete(BASE_MODEL)
    with pytest.raises(openai.NotFoundError):
        alice.openai.models.delete("unheard-of")
    assert alice.openai.models.retrieve(trained.model).id == trained.model


def test_an_adapter_tells_what_it_is(alice: Tenant, trained: Trained) -> None:
    shown = alice.http.get(f"/v1/adapters/{trained.adapter_id}").json()

    assert shown["object"] == "adapter"
    assert (shown["job_id"], shown["model"]) == (trained.job_id, trained.model)
    assert (shown["base_model"], shown["base_revision"]) == (BASE_MODEL, "abc123")
    assert (shown["type"], shown["kind"]) == ("lora", "adapter")
    assert shown["training"]["steps"] == 4
    assert {entry["name"]: (entry["bytes"], entry["sha256"]) for entry in shown["files"]} == {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in trained.folder.iterdir()
    }
    refusal(alice.http.get("/v1/adapters/unheard-of"), 404, "adapter_id", "adapter_not_found")


def test_paging_reaches_every_adapter_once_newest_first(api: Api, adapter_folder: Path) -> None:
    tenant = api.tenant()
    training_file = tenant.upload()
    made = []
    for _ in range(3):
        job_id = tenant.create_job(training_file=training_file)["id"]
        made.append(api.finish(api.claim(job_id), adapter_folder))

    first = tenant.http.get("/v1/adapters", params={"limit": 2}).json()
    assert ([entry["id"] for entry in first["data"]], first["has_more"]) == (made[:0:-1], True)
    rest = tenant.http.get("/v1/adapters", params={"limit": 2, "after": first["last_id"]}).json()
    assert ([entry["id"] for entry in rest["data"]], rest["has_more"]) == (made[:1], False)
    refusal(tenant.http.get("/v1/adapters", params={"after": "unheard-of"}), 400, "after")
    refusal(tenant.http.get("/v1/adapters", params={"limit": "-1"}), 400, "limit")


def test_each_file_of_an_adapter_is_downloaded_as_it_was_published(alice: Tenant, trained: Trained) -> None:
    for path in trained.folder.iterdir():
        answer = alice.http.get(f"/v1/adapters/{trained.adapter_id}/files/{path.name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-length"] == str(path.stat().st_size)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["unheard-of", "%2e%2e", "..%2fmanifest.json", "manifest.json%20", "%00"])
def test_only_the_listed_files_exist(api: Api, alice: Tenant, trained: Trained, name: str) -> None:
    api.store.put_bytes(f"adapters/{trained.job_id}/1/unheard-of", b"not listed")
    answer = alice.http.get(f"/v1/adapters/{trained.adapter_id}/files/{name}")
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["message"]


def test_the_zip_holds_the_files_as_they_are(alice: Tenant, trained: Trained) -> None:
    answer = alice.http.get(f"/v1/adapters/{trained.adapter_id}/content")

    assert answer.headers["content-type"] == "application/zip"
    assert f"{trained.adapter_id}.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(path.name for path in trained.folder.iterdir())
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert archive.read(entry) == (trained.folder / entry.filename).read_bytes()


def test_the_zip_is_written_chunk_by_chunk() -> None:
    """Only as much is read as the client has taken, so that a zip of many gigabytes is never in memory."""
    read = []

    def chunks() -> object:
        for number in range(50):
            read.append(number)
            yield bytes([number]) * 1000

    pieces = zipped([("weights", chunks())], datetime(2026, 1, 2, tzinfo=UTC))  # type: ignore[list-item]
    sizes = []
    for piece in pieces:
        sizes.append(len(piece))
        assert len(read) <= len(sizes)
    assert len(sizes) == 51
    assert max(sizes) < 1200


def test_a_zip_with_a_lost_file_is_refused_before_it_begins(
    api: Api, alice: Tenant, trained: Trained
) -> None:
    with api.sessions() as session:
        prefix = session.get_one(Adapter, trained.adapter_id).object_prefix
    api.store.delete(prefix + "manifest.json")
    error = refusal(
        alice.http.get(f"/v1/adapters/{trained.adapter_id}/content"), 404, None, "content_missing"
    )
    assert "manifest.json" in error["message"]


def test_no_download_waits_for_the_store_with_a_database_connection(
    api: Api, alice: Tenant, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = alice.upload()
    held: list[int] = []

    def note(work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*asked: Any) -> Any:
            held.append(api.app.state.engine.pool.checkedout())
            return work(*asked)

        return noting

    for name in ("read", "list"):
        monkeypatch.setattr(api.store, name, note(getattr(api.store, name)))
    for path in (
        f"/v1/files/{file_id}/content",
        f"/v1/adapters/{trained.adapter_id}/content",
        f"/v1/adapters/{trained.adapter_id}/files/manifest.json",
    ):
        held.clear()
        assert alice.http.get(path).is_success
        assert held, path
        assert set(held) == {0}, path
