"""The trainer in its own thread, on real servers: when it takes a job, and when it had better not."""

import errno
import shutil
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from cli.embedded import EmbeddedServers
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import SPARE
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.jobs.spec import JobSpec
from core.storage.object_store import checkpoints_prefix
from core.tables import Artifact, Job
from tests.fixtures.models.hostile import truncated
from tests.fixtures.models.tiny import OTHER, TINY, write_base
from tests.fixtures.outside.endpoint import Endpoint
from tests.fixtures.outside.hub import lead_to_hub
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, new_trainer, running
from worker.process.stop_requests import at_signal
from worker.trainer.train.job import TrainingJob
from worker.trainer.train.trainer import Trainer, _listen, _say_that_it_waits


def has_event(tenant: Tenant, job_id: str, words: str) -> bool:
    events = tenant.openai.fine_tuning.jobs.list_events(job_id, limit=100)
    return any(words in event.message for event in events)


def take_next(trainer: Trainer) -> None:
    """Have the trainer, which no thread runs, take the queue's next job."""
    job = trainer._claims.take_next(trainer._loop.jobs)
    assert job is not None
    trainer._loop.add(job)


def test_a_new_trainer_takes_no_job_while_the_store_is_away(
    api: Api, alice: Tenant, closed_port: int
) -> None:
    job_id = alice.create_job()["id"]
    with capture_logs() as logs, running(api, s3_endpoint_url=f"http://127.0.0.1:{closed_port}"):
        wait_for(lambda: any(entry["event"] == "store_unreachable" for entry in logs), 240)
    job = job_of(api, job_id)
    assert (job.status, job.fence) == ("queued", 0)
    alice.openai.fine_tuning.jobs.cancel(job_id)


def test_a_full_cohort_does_not_look_at_the_store(api: Api, endpoint: Endpoint) -> None:
    settings = api.settings.model_copy(update={"s3_endpoint_url": endpoint.url, "cohort_jobs": 1})
    trainer = new_trainer(settings)
    trainer._loop.jobs = [cast(TrainingJob, SimpleNamespace())]
    assert trainer._claims.take_next(trainer._loop.jobs) is None
    assert endpoint.requests == []


def test_a_job_that_waits_where_nothing_fits_leaves_the_trainer_alive_and_is_told_why_once_it_is_first(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        job_id = api.tenant().create_job(model=TINY)["id"]
        trainer = new_trainer(api.settings)
        holder, loop = trainer._process_group.holder, trainer._loop
        holder.load(holder.find(TINY))
        holder.base.budget = replace(holder.base.budget, free_bytes=100_000)
        neighbour = SimpleNamespace(
            alone=False, waits_for_memory=False, spec=SimpleNamespace(trains_alone=False), state_bytes=1
        )
        wait_for(trainer._claims._server_probe.allow_a_job, 240)
        assert trainer._claims.take_next([cast(TrainingJob, neighbour)]) is None
        take_next(trainer)
        wait_for(lambda: loop.train_round() or job_of(api, job_id).status == "failed", 240)
        error = job_of(api, job_id).error
        assert error is not None
        assert error["code"] == "out_of_memory"
        assert "Lower adapter.r" in error["message"]


def test_a_catalog_that_changes_takes_no_base_model_from_the_jobs_that_train_on_it(
    servers: EmbeddedServers, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_base(tmp_path)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        trainer = new_trainer(api.settings)
        holder, loop = trainer._process_group.holder, trainer._loop
        tenant.create_job(model=TINY)
        wait_for(trainer._claims._server_probe.allow_a_job, 240)
        take_next(trainer)
        base = holder.base
        catalog.write_text(catalog.read_text().replace('license = "', 'license = "another than '))
        tenant.create_job(model=TINY)
        take_next(trainer)  # the weights are the same
        may_join, answers = trainer._claims._may_join, list[bool]()

        def may_join_just_before_a_change(*asked: Any) -> bool:
            answers.append(may_join(*asked))
            if len(answers) == 2:  # the first is that of the look before the claim
                catalog.write_text(catalog.read_text().replace("max_length = ", "max_length = 1"))
            return answers[-1]

        late = tenant.create_job(model=TINY)["id"]
        monkeypatch.setattr(trainer._claims, "_may_join", may_join_just_before_a_change)
        take_next(trainer)
        assert holder.base is base
        assert (len(loop.jobs), job_of(api, late).status) == (2, "queued")
        assert has_event(tenant, late, "changed in the catalog")
        for job in loop.jobs:
            job.close()


@pytest.mark.exhaustive
def test_a_job_too_long_for_its_neighbours_waits_for_their_end_and_nobody_joins_meanwhile(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path)
    with (
        job_api_on(servers, database_url, catalog_file=catalog, cohort_bytes=10**9) as api,
        running(api) as trainer,
    ):
        tenant = api.tenant()
        many_steps = {"n_epochs": 50, "batch_size": 1}
        neighbour = tenant.create_job(model=TINY, hyperparameters=many_steps)["id"]
        wait_for(lambda: has_event(tenant, neighbour, "A step takes at most"), 240)
        base = trainer._process_group.holder.base
        load = trainer._process_group.holder.load_of(
            JobSpec.model_validate(job_of(api, neighbour).spec), longest_row=512
        )
        least = base.budget.expected_bytes(load, MemoryPlan(Recompute.LAYERS, 64))
        assert least is not None
        base.budget = replace(base.budget, free_bytes=round(least / (1 - SPARE["cpu"])) + 1)
        waiting = tenant.create_job(model=TINY, hyperparameters={"n_epochs": 1})["id"]
        wait_for(lambda: has_event(tenant, waiting, "waits until it fits"), 240)
        behind = tenant.create_job(model=TINY)["id"]
        looked_at = trainer._loop._looked_at
        wait_for(lambda: trainer._loop._looked_at > looked_at, 240)
        trainee = trainer._process_group.trainees[neighbour]
        step = trainee.step
        wait_for(lambda: trainee.step > step, 240)
        assert (job_of(api, waiting).status, job_of(api, behind).status) == ("running", "queued")
        for job_id in (behind, neighbour):
            tenant.openai.fine_tuning.jobs.cancel(job_id)
        wait_for(lambda: job_of(api, waiting).status == "succeeded", 240)
        assert has_event(tenant, waiting, "computes the layers again")


def test_a_supervisor_that_dies_without_having_read_stops_its_trainer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisors_end, trainers_end = socket.socketpair()
    with supervisors_end, trainers_end, trainers_end.makefile() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        supervisors_end.sendall(b"wake\n")
        _say_that_it_waits(trainers_end)
        supervisors_end.close()
        heard: list[str] = []
        _listen(lambda: heard.append("wake"), lambda: heard.append("stop"))
    assert heard[-1] == "stop"


def test_a_signal_is_met_wherever_it_interrupts_the_main_thread() -> None:
    """Even where that holds the very lock that the order to stop needs, as while it waits for its bell."""
    bell, before = threading.Event(), signal.getsignal(signal.SIGUSR1)
    at_signal(signal.SIGUSR1, bell.set)
    try:
        with bell._cond:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert bell.wait(120)


def test_a_hub_that_is_away_fails_no_job(
    api: Api, alice: Tenant, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to_hub(monkeypatch, f"http://127.0.0.1:{closed_port}")
    job_id = alice.create_job()["id"]
    with running(api):
        wait_for(lambda: (job := job_of(api, job_id)).fence and job.status != "running", 240)
    job = job_of(api, job_id)
    assert (job.status, job.lost_attempts) == ("queued", 0)
    messages = [event.message for event in alice.openai.fine_tuning.jobs.list_events(job_id)]
    assert any("The hub did not answer" in message for message in messages)


def test_a_damaged_base_model_ends_its_job_alone(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog, hostile = write_base(tmp_path), tmp_path / "hostile"
    shutil.copytree(tmp_path / "model", hostile)
    truncated(hostile)
    sound, damaged = catalog.read_text().split("\n\n")
    catalog.write_text(f"{sound}\n\n{damaged.replace(str(tmp_path / 'model'), str(hostile))}")
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        refused, trained = (tenant.create_job(model=model)["id"] for model in (OTHER, TINY))
        with running(api):
            wait_for(lambda: job_of(api, trained).status == "succeeded", 240)
        job = job_of(api, refused)
    assert (job.status, job.lost_attempts) == ("failed", 0)
    assert job.error is not None
    assert job.error["code"] == "model_unavailable"
    assert "model.safetensors is damaged" in job.error["message"]


def test_a_disk_that_takes_no_folder_costs_neither_the_job_an_attempt_nor_the_trainer_its_life(
    servers: EmbeddedServers, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path)

    make = tempfile.mkdtemp

    def refuse(suffix: str | None = None, prefix: str | None = None, *place: str) -> str:
        if prefix == "tunery-job-":
            raise OSError(errno.EROFS, "Read-only file system")
        return make(suffix, prefix, *place)

    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        job_id = tenant.create_job(model=TINY)["id"]
        with monkeypatch.context() as patch, running(api):
            patch.setattr(tempfile, "mkdtemp", refuse)
            wait_for(lambda: (job := job_of(api, job_id)).fence and job.status != "running", 240)
        job = job_of(api, job_id)
        assert (job.status, job.lost_attempts) == ("queued", 0)
        messages = [event.message for event in tenant.openai.fine_tuning.jobs.list_events(job_id)]
        assert any("disk failed (Read-only file system)" in message for message in messages)
        tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_a_suspect_saves_what_proves_it_innocent_before_its_checkpoint_is_due(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    """Its neighbours hold still until then."""
    catalog = write_base(tmp_path)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        hyperparameters = {"n_epochs": 1, "batch_size": 1}
        job_id = tenant.create_job(model=TINY, hyperparameters=hyperparameters)["id"]
        lease = api.claim(job_id)
        with api.sessions.begin() as session:
            lifecycle.renew(session, lease, Progress("training", step=2))
            lifecycle.lose_claims_of(session, "a test", "The trainer burst", 3)
        with running(api):
            wait_for(lambda: job_of(api, job_id).status == "succeeded", 240)
        with api.sessions() as session:  # also the checkpoints that the end of the job has given up
            query = select(Artifact.prefix).where(Artifact.prefix.startswith(checkpoints_prefix(job_id)))
            assert sorted(int(prefix.split("/")[-3]) for prefix in session.scalars(query)) == [3, 12]


def test_a_checkpoint_of_a_step_before_the_loss_ends_no_trial(
    servers: EmbeddedServers, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path)
    arrived: list[tuple[bool, bool]] = []
    end_trial = TrainingJob._end_trial

    def note(job: TrainingJob, step: int) -> None:
        end_trial(job, step)
        arrived.append((step > 4, job.alone))

    monkeypatch.setattr(TrainingJob, "_end_trial", note)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        hyperparameters = {"n_epochs": 3, "batch_size": 4}  # an epoch has 3 steps
        job_id = tenant.create_job(model=TINY, hyperparameters=hyperparameters)["id"]
        lease = api.claim(job_id)
        with api.sessions.begin() as session:
            lifecycle.renew(session, lease, Progress("training", step=4))
            lifecycle.lose_claims_of(session, "a test", "The trainer burst", 3)
        with running(api):
            wait_for(lambda: job_of(api, job_id).status == "succeeded", 240)
    assert arrived[0] == (False, True)
    assert set(arrived[1:]) == {(True, False)}


OF_A_NEWER_RELEASE: list[dict[str, Any]] = [
    {"adapter": {"type": "of-a-newer-release"}},
    {"adapter": {"type": "lora", "use_dora": True, "of_a_newer_release": 1}},
    {"of_a_newer_release": True},
]


def test_jobs_of_a_newer_release_wait_untouched_and_hold_up_nobody(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path)
    said: list[str] = []
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        one_epoch = {"n_epochs": 1, "batch_size": 4}
        *newer, behind = (tenant.create_job(model=TINY, hyperparameters=one_epoch)["id"] for _ in range(4))
        stored = {}
        with api.sessions.begin() as session:
            for job_id, change in zip(newer, OF_A_NEWER_RELEASE, strict=True):
                job = session.get_one(Job, job_id)
                job.spec = stored[job_id] = {**job.spec, **change}
        with capture_logs() as logs, running(api, lambda: said.append("waiting")):
            wait_for(lambda: job_of(api, behind).status == "succeeded", 240)
            wait_for(lambda: said, 240)
        for job_id in newer:
            job = job_of(api, job_id)
            assert (job.status, job.fence, job.spec) == ("queued", 0, stored[job_id])
            tenant.openai.fine_tuning.jobs.cancel(job_id)
        told = [entry["job"] for entry in logs if entry["event"] == "job_is_beyond_this_release"]
        assert sorted(told) == sorted(newer), "told once, however often the queue is looked at"
