"""The trainer in its own thread, on a store that hangs or fails: what a job sends holds up no other."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from cli.embedded import EmbeddedServers
from core.storage.file_names import STATE_NAME, WEIGHTS_NAME
from core.storage.object_store import Moved, ObjectStore
from core.tables import Adapter, Checkpoint, Claim, Eval, Job, Task
from tests.fixtures.faults.database import lose_the_claim
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import cancel_all, job_api_on, short_rows
from tests.fixtures.service.trainer import row_files, running
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.trainer.train import job

SECONDS = 240
ROWS = 48
BATCH_SIZE = 4
STEPS_PER_EPOCH = ROWS // BATCH_SIZE
SHORT, LONG = 1, 50  # epochs


class Uploads:
    """What the store does with files: those whose key has `held` in it wait until they are let go."""

    def __init__(self) -> None:
        self.held = "nothing"
        self.waiting = threading.Event()
        self.go = threading.Event()
        self.error: Exception | None = None

    def around(self, put: Callable[..., None]) -> Callable[..., None]:
        def put_file(store: ObjectStore, key: str, path: Path, sent: Moved | None = None) -> None:
            if self.held in key and not self.go.is_set():
                self.waiting.set()
                assert self.go.wait(SECONDS)
                if self.error:
                    raise self.error
            put(store, key, path, sent)

        return put_file


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    uploads = Uploads()
    monkeypatch.setattr(ObjectStore, "put_file", uploads.around(ObjectStore.put_file))
    yield uploads
    uploads.go.set()


@pytest.fixture(scope="module")
def api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("ships")
    catalog = write_base(folder)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        yield api


@pytest.fixture
def tenant(api: Api) -> Iterator[Tenant]:
    """Its jobs end with the test."""
    tenant = api.tenant()
    yield tenant
    cancel_all(api, tenant)


def create(tenant: Tenant, epochs: int, *, evaluated: bool = False) -> str:
    file = tenant.upload(short_rows(ROWS))
    hyperparameters = {"n_epochs": epochs, "batch_size": BATCH_SIZE}
    body = {"model": TINY, "training_file": file, "hyperparameters": hyperparameters}
    return str(tenant.create_job(**body, evaluate={"file": file} if evaluated else None)["id"])


def of(api: Api, table: Any, job_id: str) -> list[Any]:
    with api.sessions() as session:
        return list(session.scalars(select(table).where(table.job_id == job_id)))


def status(api: Api, job_id: str) -> str:
    with api.sessions() as session:
        return session.get_one(Job, job_id).status


def step(api: Api, job_id: str) -> int:
    return max((claim.step for claim in of(api, Claim, job_id)), default=0)


@pytest.mark.exhaustive
def test_a_checkpoint_whose_upload_hangs_holds_up_neither_its_job_nor_a_neighbour(
    api: Api, tenant: Tenant, uploads: Uploads
) -> None:
    """The job trains on up to its next epoch's end, of which the checkpoint has to wait."""
    job_id = create(tenant, 2)
    uploads.held = f"checkpoints/{job_id}/"
    with running(api):
        assert uploads.waiting.wait(SECONDS)
        wait_for(lambda: step(api, job_id) == 2 * STEPS_PER_EPOCH, SECONDS)
        neighbour = create(tenant, SHORT)
        wait_for(lambda: status(api, neighbour) == "succeeded", SECONDS)
        assert (status(api, job_id), of(api, Checkpoint, job_id)) == ("running", [])
        uploads.go.set()
        wait_for(lambda: status(api, job_id) == "succeeded", SECONDS)
    checkpoints = of(api, Checkpoint, job_id)
    assert sorted(checkpoint.step for checkpoint in checkpoints) == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    (claim,) = of(api, Claim, job_id)
    assert claim.outcome == "succeeded"


def test_the_last_adapter_is_written_and_sent_once_and_is_the_result_and_the_last_checkpoint(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put_file = ObjectStore.put_file

    def noted(store: ObjectStore, key: str, path: Path, moved: Moved | None = None) -> None:
        sent.append(path.name)
        put_file(store, key, path, moved)

    monkeypatch.setattr(ObjectStore, "put_file", noted)
    saved: list[Path] = []
    save = TrainableAdapter.save
    monkeypatch.setattr(
        TrainableAdapter, "save", lambda adapter, folder: (saved.append(folder), save(adapter, folder))
    )
    job_id = create(tenant, 2)
    with running(api):
        wait_for(lambda: status(api, job_id) == "succeeded", SECONDS)
    assert len(saved) == 2
    assert sent.count(WEIGHTS_NAME) == 2, "with each of the two checkpoints, and not again as the result"
    (adapter,), checkpoints = of(api, Adapter, job_id), of(api, Checkpoint, job_id)
    hashes = [{file["name"]: file["sha256"] for file in each.files} for each in (adapter, *checkpoints)]
    result, *_ = hashes
    assert [each[WEIGHTS_NAME] == result[WEIGHTS_NAME] for each in hashes].count(True) == 2
    assert sum(STATE_NAME in each for each in hashes) == 1, "the last checkpoint has its state in the adapter"


def test_a_result_whose_tokenizer_and_hashes_take_long_holds_up_no_neighbour(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()
    complete = job.complete_adapter_folder

    def complete_slowly(*arguments: Any) -> None:
        began.set()
        assert go.wait(SECONDS)
        complete(*arguments)

    monkeypatch.setattr(job, "complete_adapter_folder", complete_slowly)
    job_id, neighbour = create(tenant, SHORT), create(tenant, LONG)
    with running(api):
        assert began.wait(SECONDS)
        before = step(api, neighbour)
        wait_for(lambda: step(api, neighbour) > before + 1, SECONDS)
        assert (status(api, job_id), of(api, Adapter, job_id)) == ("running", [])
        go.set()
        wait_for(lambda: status(api, job_id) == "succeeded", SECONDS)


def test_a_job_cancelled_while_it_is_being_published_leaves_at_once_and_publishes_nothing(
    api: Api, tenant: Tenant, uploads: Uploads, temporary_files_in: Callable[[Path], None], tmp_path: Path
) -> None:
    temporary_files_in(tmp_path)
    job_id = create(tenant, SHORT)
    uploads.held = f"adapters/{job_id}/"
    with capture_logs() as logs, running(api) as trainer:
        assert uploads.waiting.wait(SECONDS)
        tenant.openai.fine_tuning.jobs.cancel(job_id)
        wait_for(lambda: not trainer._loop.jobs, SECONDS)
        assert list(tmp_path.glob("tunery-job-*")), "its files are being read"
        neighbour = create(tenant, SHORT)
        wait_for(lambda: status(api, neighbour) == "succeeded", SECONDS)
        uploads.go.set()
        wait_for(lambda: not list(tmp_path.glob("tunery-job-*")), SECONDS)
    assert (status(api, job_id), of(api, Adapter, job_id)) == ("cancelled", [])
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]


def test_a_trainer_told_to_stop_waits_for_a_publication_and_saves_who_trains(
    api: Api, tenant: Tenant, uploads: Uploads
) -> None:
    published, trains = create(tenant, SHORT), create(tenant, LONG)
    uploads.held = f"adapters/{published}/"
    with running(api) as trainer:
        assert uploads.waiting.wait(SECONDS)
        wait_for(lambda: step(api, trains), SECONDS)
        trainer.stop()
        wait_for(lambda: status(api, trains) == "queued", SECONDS)
        assert status(api, published) == "running"
        uploads.go.set()
    assert status(api, published) == "succeeded"
    assert len(of(api, Adapter, published)) == 1
    (claim,) = of(api, Claim, trains)
    assert claim.outcome == "released"
    assert max(checkpoint.step for checkpoint in of(api, Checkpoint, trains)) == claim.step


@pytest.mark.exhaustive
def test_two_trainers_with_the_same_fence_publish_once_and_overwrite_nothing_of_each_other(
    api: Api, tenant: Tenant, uploads: Uploads
) -> None:
    """A failover has lost the claim of the first one, which does not know it."""
    job_id = create(tenant, SHORT, evaluated=True)
    uploads.held = f"adapters/{job_id}/"
    with running(api) as first:
        assert uploads.waiting.wait(SECONDS)
        uploads.held = "nothing"  # of the second trainer
        (former,) = [job.lease for job in first._loop.jobs]
        first._claims.passed_over.add(job_id)
        lose_the_claim(api.sessions, former)
        with running(api):
            wait_for(lambda: status(api, job_id) == "succeeded", SECONDS)
        uploads.go.set()
        wait_for(lambda: any(former.attempt in key for key in api.store.list(f"adapters/{job_id}/")), SECONDS)
    (claim,), (adapter,) = of(api, Claim, job_id), of(api, Adapter, job_id)
    assert claim.fence == former.fence
    assert adapter.object_prefix == f"adapters/{job_id}/{claim.fence}-{claim.nonce}/"
    named = [adapter.object_prefix, *(checkpoint.object_prefix for checkpoint in of(api, Checkpoint, job_id))]
    assert not [prefix for prefix in named if former.attempt in prefix]
    evals = of(api, Eval, job_id)
    assert len(evals) == 2
    with api.sessions() as session:
        runs = session.scalars(select(Task).where(Task.eval_id.in_(made.id for made in evals))).all()
    tuned = [run.request["served"]["adapter"] for run in runs if run.request["metadata"]["model"] == "tuned"]
    assert [served["prefix"] for served in tuned] == [adapter.object_prefix] * 2
    assert len(runs) == 4


@pytest.mark.parametrize("what", ["checkpoints", "adapters"])
@pytest.mark.exhaustive
def test_a_job_whose_upload_fails_is_given_back_and_goes_on_from_what_was_saved(
    api: Api, tenant: Tenant, uploads: Uploads, what: str
) -> None:
    job_id = create(tenant, SHORT)
    uploads.held = f"{what}/{job_id}/"
    uploads.error = ConnectionError("the store is away")
    with running(api):
        assert uploads.waiting.wait(SECONDS)
        uploads.go.set()
        wait_for(lambda: status(api, job_id) == "succeeded", SECONDS)
    outcomes = [claim.outcome for claim in sorted(of(api, Claim, job_id), key=lambda claim: claim.fence)]
    assert outcomes == ["released", "succeeded"]
    messages = [event.message for event in tenant.openai.fine_tuning.jobs.list_events(job_id)]
    assert any("did not answer (ConnectionError)" in message for message in messages)
    resumed = f"Resumed from the checkpoint at step {STEPS_PER_EPOCH}" in messages
    assert resumed == (what == "adapters")
    assert len(of(api, Adapter, job_id)) == 1


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("ending", ["succeeded", "cancelled"])
def test_the_rows_of_a_job_leave_the_disk_with_the_job(
    api: Api, tenant: Tenant, uploads: Uploads, ending: str
) -> None:
    """They do so although an error's traceback, for example, still holds them."""
    job_id = create(tenant, 2)
    uploads.held = f"checkpoints/{job_id}/"
    with running(api):
        assert uploads.waiting.wait(SECONDS)
        assert len(row_files(api)) == 2
        if ending == "cancelled":
            tenant.openai.fine_tuning.jobs.cancel(job_id)
        uploads.go.set()
        wait_for(lambda: status(api, job_id) == ending, SECONDS)
        wait_for(lambda: not row_files(api))
