"""Jobs that report to trackers: real libraries, offline or on files, in processes of their own."""

import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import select, update

from core.jobs import lifecycle
from core.jobs.lifecycle import Lease
from core.roles import Role
from core.secrets.vault import Vault
from core.tables import Event, Job, Metric, Task
from core.work import lease as leases
from core.work.kinds import TRACKING
from tests.fixtures.outside.receiver import Receiver
from tests.fixtures.outside.tracker_files import tensorboard_scalars, wandb_history, wandb_records
from tests.fixtures.processes.tasks import WarmTasks, task_processes, variables_of
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from worker.tasks.frame.service import FOLLOWING, LEAVE_SECONDS
from worker.tasks.tracking.reporting import MAX_POINTS
from worker.tasks.tracking.sinks import TrackedJob, TrackerRefused, open_sink
from worker.tasks.tracking.wandb_sink import WandbRun

SECRET = "0123456789abcdef" * 2 + "hidden00"  # as long as a real key
WANDB = {"type": "wandb", "wandb": {"project": "ours", "name": "first", "tags": ["a-tag"]}}
MLFLOW = {"type": "mlflow", "mlflow": {"experiment": "ours", "run_name": "first", "tags": {"team": "red"}}}
TENSORBOARD = {"type": "tensorboard"}
SECONDS = 240  # the libraries take seconds to import on a busy machine


@pytest.fixture
def tenant(api: Api) -> Tenant:
    admin = api.tenant(role=Role.ADMIN)
    assert admin.http.post("/v1/secrets", json={"name": "WANDB_API_KEY", "value": SECRET}).is_success
    return admin


@pytest.fixture(autouse=True)
def file_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests read what MLflow has written to files, too."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


@pytest.fixture
def leave_seconds() -> float:
    """Return the time after which a worker kills a process that hangs."""
    return LEAVE_SECONDS


@pytest.fixture
def tracking(api: Api, leave_seconds: float) -> Iterator[WarmTasks]:
    variables = variables_of(api.settings) | {"WANDB_MODE": "offline"}
    with WarmTasks(api.sessions, [TRACKING.name], variables, FOLLOWING, leave_seconds) as tracking:
        yield tracking


def make_steps(api: Api, lease: Lease, *steps: int) -> None:
    """Write steps as a trainer does. A step that is repeated after a crash replaces its row."""
    with api.sessions.begin() as session:
        for step in steps:
            data = {"step": step, "total_steps": 9, "train_loss": 4.0 / step, "valid_loss": None}
            session.merge(Metric(job_id=lease.job_id, step=step, data=data))


def trackers(api: Api, job_id: str) -> dict[str, Task]:
    with api.sessions() as session:
        found = session.scalars(select(Task).where(Task.job_id == job_id)).all()
    return {task.request["type"]: task for task in found}


def wait_until_reported(api: Api, job_id: str, step: int) -> None:
    def reported() -> bool:
        found = trackers(api, job_id).values()
        return all((task.report or {}).get("reported_step", 0) >= step for task in found)

    wait_for(reported, SECONDS)


def wait_until_ended(api: Api, job_id: str) -> None:
    wait_for(lambda: all(task.finished_at for task in trackers(api, job_id).values()), SECONDS)


def messages(tenant: Tenant, job_id: str) -> list[str]:
    return [event.message for event in tenant.openai.fine_tuning.jobs.list_events(job_id)]


def lose(api: Api, lease: Lease) -> None:
    with api.sessions.begin() as session:
        lifecycle.release(session, lease, "The trainer died")


@pytest.mark.exhaustive
def test_every_tracker_gets_every_step_once_also_when_the_trainer_died(
    api: Api, tenant: Tenant, tracking: WarmTasks, adapter_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job_id = tenant.create_job(integrations=[WANDB, MLFLOW, TENSORBOARD], seed=7)["id"]
    lease = api.claim(job_id)
    make_steps(api, lease, 1, 2, 3)
    wait_until_reported(api, job_id, 3)
    shown = [text for process in task_processes() for text in process.cmdline()]
    assert {task.id for task in trackers(api, job_id).values()} <= set(shown)
    lose(api, lease)
    wait_for(lambda: all(tracker.holder is None for tracker in trackers(api, job_id).values()), SECONDS)
    lease = api.claim(job_id)
    make_steps(api, lease, 2, 3, 4, 5)
    api.finish(lease, adapter_folder)
    wait_until_ended(api, job_id)

    losses = {step: 4.0 / step for step in range(1, 6)}
    runs = sorted((api.settings.home / "tracking" / "wandb").rglob(f"*{job_id}.wandb"))
    records = [record for run in runs for record in wandb_records(run)]
    history = wandb_history(records)
    assert [(entry["_step"], entry["train_loss"]) for entry in history] == list(losses.items())
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, run.run_id) == ("ours", "first", job_id)
    assert {"a-tag", "tunery/finetune"} <= set(run.tags)
    assert {item.key for item in run.config.update} >= {"base_model", "hyperparameters", "training_file"}

    (found,) = mlflow_runs(api, job_id)
    assert (found.info.status, found.info.run_name, found.data.tags["team"]) == ("FINISHED", "first", "red")
    assert found.data.params["seed"] == "7"
    metrics = mlflow(api).get_metric_history(found.info.run_id, "train_loss")
    assert [(metric.step, metric.value) for metric in metrics] == list(losses.items())

    job = tenant.openai.fine_tuning.jobs.retrieve(job_id)
    _, events = job.result_files
    content = tenant.openai.files.content(events).read()
    assert tensorboard_scalars(content)["train_loss"] == [
        (step, pytest.approx(loss)) for step, loss in losses.items()
    ]
    assert tenant.openai.files.retrieve(events).purpose == "fine-tune-results"

    for place in (*shown, *capfd.readouterr(), str(tenant.job(job_id)), *messages(tenant, job_id)):
        assert SECRET not in place
    for file in runs[0].parent.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def mlflow(api: Api) -> MlflowClient:
    return MlflowClient(tracking_uri=api.settings.mlflow_tracking_uris)


def mlflow_runs(api: Api, job_id: str) -> list[Any]:
    client = mlflow(api)
    experiment = client.get_experiment_by_name("ours")
    assert experiment is not None
    filter_ = f"tags.`tunery.job_id` = '{job_id}'"
    return list(client.search_runs([experiment.experiment_id], filter_string=filter_))


def test_a_cancelled_job_ends_as_such_in_its_tracker(api: Api, tenant: Tenant, tracking: WarmTasks) -> None:
    job_id = tenant.create_job(integrations=[MLFLOW])["id"]
    make_steps(api, api.claim(job_id), 1)
    wait_until_reported(api, job_id, 1)
    tenant.openai.fine_tuning.jobs.cancel(job_id)
    wait_until_ended(api, job_id)
    (run,) = mlflow_runs(api, job_id)
    assert run.info.status == "KILLED"


@pytest.mark.parametrize("leave_seconds", [0.5])
@pytest.mark.exhaustive
def test_a_tracker_that_hangs_is_killed_and_tried_again_and_the_job_does_not_notice(
    api: Api, tenant: Tenant, tracking: WarmTasks, adapter_folder: Path
) -> None:
    job_id = tenant.create_job(integrations=[MLFLOW])["id"]
    lease = api.claim(job_id)
    make_steps(api, lease, 1)
    wait_until_reported(api, job_id, 1)
    (hanging,) = task_processes()
    hanging.send_signal(signal.SIGSTOP)
    make_steps(api, lease, 2)
    api.finish(lease, adapter_folder)
    assert tenant.job(job_id)["status"] == "succeeded"
    let_time_pass(api, job_id)
    wait_for(lambda: not hanging.is_running(), SECONDS)
    wait_for(lambda: trackers(api, job_id)["mlflow"].losses == 1, SECONDS)
    let_time_pass(api, job_id)
    wait_until_ended(api, job_id)
    (run,) = mlflow_runs(api, job_id)
    history = mlflow(api).get_metric_history(run.info.run_id, "train_loss")
    assert [metric.step for metric in history] == [1, 2]
    assert any("failed and is tried again" in message for message in messages(tenant, job_id))


def let_time_pass(api: Api, job_id: str) -> None:
    """Make the lease, or the delay before the next try, run out."""
    with api.sessions.begin() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Task).where(Task.job_id == job_id).values(held_until=past))


@pytest.mark.parametrize("leave_seconds", [0.5])
def test_a_process_that_hangs_is_killed_also_when_another_worker_noticed_first(
    api: Api, tenant: Tenant, tracking: WarmTasks
) -> None:
    job_id = tenant.create_job(integrations=[MLFLOW])["id"]
    make_steps(api, api.claim(job_id), 1)
    wait_until_reported(api, job_id, 1)
    (hanging,) = task_processes()
    hanging.send_signal(signal.SIGSTOP)
    let_time_pass(api, job_id)
    with api.sessions.begin() as session:
        assert leases.take(session, "of another worker", [TRACKING.name]) is None
    assert trackers(api, job_id)["mlflow"].holder is None
    wait_for(lambda: not hanging.is_running(), SECONDS)
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_a_tracker_whose_server_is_away_for_half_a_day_is_not_given_up(api: Api, tenant: Tenant) -> None:
    job_id, waited = tenant.create_job(integrations=[MLFLOW])["id"], timedelta()
    api.claim(job_id)
    while (task := trackers(api, job_id)["mlflow"]).finished_at is None:
        if task.held_until is not None:
            waited += max(timedelta(), task.held_until - datetime.now(UTC))
            let_time_pass(api, job_id)
        with api.sessions.begin() as session:
            lease = leases.take(session, "a-holder", [TRACKING.name])
            assert lease is not None
            leases.lose(session, lease, "no answer")
    assert waited > timedelta(hours=12)
    assert any("given up" in message and "in a row" in message for message in messages(tenant, job_id))
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_a_backlog_is_sent_in_portions_that_count_as_progress() -> None:
    """MLflow needs a request for each step, which takes up to a second."""
    assert 0 < MAX_POINTS < TRACKING.most_seconds


@pytest.mark.exhaustive
def test_a_worker_that_lacks_the_key_of_a_secret_reports_once_it_has_it(
    api: Api, tenant: Tenant, tracking: WarmTasks
) -> None:
    right = tracking.variables["TUNERY_SECRET_KEYS"]
    tracking.variables["TUNERY_SECRET_KEYS"] = Vault.new_key()
    job_id = tenant.create_job(integrations=[WANDB])["id"]
    make_steps(api, api.claim(job_id), 1)
    wait_for(lambda: trackers(api, job_id)["wandb"].losses == 1, SECONDS)
    assert any("is not among TUNERY_SECRET_KEYS" in message for message in messages(tenant, job_id))
    tracking.variables["TUNERY_SECRET_KEYS"] = right
    let_time_pass(api, job_id)
    wait_until_reported(api, job_id, 1)
    tenant.openai.fine_tuning.jobs.cancel(job_id)
    wait_until_ended(api, job_id)


def test_a_library_and_its_processes_are_given_no_credentials_of_the_worker(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, tracking: WarmTasks
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    monkeypatch.setenv("TUNERY_PART_OF", "worker@here")  # by which `up` finds what a dead worker left
    assert "AWS_SECRET_ACCESS_KEY" in os.environ
    job_id = tenant.create_job(integrations=[WANDB])["id"]
    make_steps(api, api.claim(job_id), 1)
    wait_until_reported(api, job_id, 1)
    named = trackers(api, job_id)["wandb"].id
    (process,) = (process for process in task_processes() if named in process.cmdline())
    given = [child.environ() for child in process.children(recursive=True)]
    assert given
    for environment in given:
        ours = {name for name in environment if name.startswith(("TUNERY_", "AWS_", "HF_TOKEN"))}
        assert ours == {"TUNERY_PART_OF"}
    tenant.openai.fine_tuning.jobs.cancel(job_id)
    wait_until_ended(api, job_id)


def test_mlflow_is_given_the_projects_token_and_no_password_of_the_workers_account(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "of-the-worker"
    (home / ".mlflow").mkdir(parents=True)
    (home / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = worker\nmlflow_tracking_password = hidden\n"
    )
    (home / ".netrc").write_text("machine 127.0.0.1 login worker password hidden\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "to be replaced")
    receiver.statuses = [400]
    secrets = {"MLFLOW_TRACKING_TOKEN": "of-the-project"}
    tracked = TrackedJob(Job(id="ftjob-1"), MLFLOW, secrets, tmp_path / "tracking", [receiver.url])
    with pytest.raises(MlflowException):
        open_sink("mlflow", tracked)
    assert receiver.requests[0].headers["authorization"] == "Bearer of-the-project"


@pytest.mark.parametrize("offline", [False, True])
def test_steps_that_wandb_may_not_have_sent_are_reported_again(offline: bool) -> None:
    """W&B drops the steps that a run already has. Offline, each process writes a run of its own."""
    run = SimpleNamespace(offline=offline, url="https://wandb.example/run")
    assert WandbRun(cast(Any, run)).keeps_steps is offline


def test_a_tracker_whose_secret_was_deleted_is_given_up_and_the_client_is_told(
    api: Api, tenant: Tenant, tracking: WarmTasks, monkeypatch: pytest.MonkeyPatch, adapter_folder: Path
) -> None:
    """The worker's own key is not used for a client's job."""
    del tracking.variables["WANDB_MODE"]
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    job_id = tenant.create_job(integrations=[WANDB])["id"]
    assert tenant.http.delete("/v1/secrets/WANDB_API_KEY").is_success
    lease = api.claim(job_id)
    wait_until_ended(api, job_id)
    with api.sessions() as session:
        event = session.query(Event).where(Event.job_id == job_id, Event.level == "warn").one()
    assert "tunery secrets set WANDB_API_KEY" in event.message
    api.finish(lease, adapter_folder)
    assert tenant.job(job_id)["status"] == "succeeded"


def test_a_worker_that_is_killed_leaves_no_reporting_process(
    api: Api, tenant: Tenant, tracking: WarmTasks
) -> None:
    job_id = tenant.create_job(integrations=[TENSORBOARD])["id"]
    api.claim(job_id)
    (process,) = wait_for(task_processes, SECONDS)
    wait_for(lambda: trackers(api, job_id)["tensorboard"].holder, SECONDS)
    tracking.die()
    assert process.wait(SECONDS) == 0
    assert trackers(api, job_id)["tensorboard"].holder is None
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "worker.tasks.tracking.wandb_sink", raising=False)
    tracked = TrackedJob(Job(), WANDB, {}, Path(), [])
    with pytest.raises(TrackerRefused, match=r"tunery\[wandb\]"):
        open_sink("wandb", tracked)


def test_a_job_shows_its_integrations_as_openai_does(api: Api, tenant: Tenant) -> None:
    shown = tenant.create_job(integrations=[WANDB])
    strictly(FineTuningJob, shown)
    assert shown["integrations"] == [
        {"type": "wandb", "wandb": {"project": "ours", "name": "first", "entity": None, "tags": ["a-tag"]}}
    ]
    with api.sessions() as session:
        assert "integrations" not in session.get_one(Job, shown["id"]).spec
    tenant.openai.fine_tuning.jobs.cancel(shown["id"])


@pytest.mark.parametrize(
    ("integrations", "param", "code"),
    [
        ([{"type": "comet"}], "integrations.0.type", "invalid_value"),
        ([{"type": "wandb"}], "integrations.0.wandb", "missing_required_parameter"),
        ([{"type": "wandb", "wandb": {}}], "integrations.0.wandb.project", "missing_required_parameter"),
        ([{**WANDB, "wandb": {"project": "a", "x": 1}}], "integrations.0.wandb.x", "unknown_parameter"),
        ([TENSORBOARD, TENSORBOARD], "integrations.1.type", "duplicate_integration"),
        (
            [{"type": "mlflow", "mlflow": {"experiment": "a", "tracking_uri": "http://10.0.0.1/"}}],
            "integrations.0.mlflow.tracking_uri",
            "tracking_uri_not_available",
        ),
    ],
)
def test_a_wrong_integration_is_refused_with_its_place(
    tenant: Tenant, integrations: list[dict[str, Any]], param: str, code: str
) -> None:
    body = {"model": "tiny-model", "training_file": tenant.upload(), "integrations": integrations}
    refusal(tenant.http.post("/v1/fine_tuning/jobs", json=body), 400, param, code)


def test_a_wandb_job_without_its_secret_is_refused_with_the_mend(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = api.tenant()
    body = {"model": "tiny-model", "training_file": tenant.upload(), "integrations": [MLFLOW, WANDB]}
    monkeypatch.delenv("WANDB_MODE", raising=False)
    error = refusal(
        tenant.http.post("/v1/fine_tuning/jobs", json=body), 400, "integrations.1", "missing_secret"
    )
    assert "tunery secrets set WANDB_API_KEY" in error["message"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tenant.http.post("/v1/fine_tuning/jobs", json=body).is_success


def test_a_trackers_secret_goes_to_the_hosts_that_it_is_bound_to(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    file_id = tenant.upload()

    def asked(*hosts: str) -> Any:
        body = {"name": "WANDB_API_KEY", "value": SECRET, "hosts": hosts}
        assert tenant.http.post("/v1/secrets", json=body).is_success
        return tenant.ask_for_job(training_file=file_id, integrations=[MLFLOW, WANDB])

    refusal(asked("wandb.example.com"), 400, "integrations.1", "secret_not_for_host")
    assert asked("api.wandb.ai").is_success
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.com")
    refusal(asked("api.wandb.ai"), 400, "integrations.1", "secret_not_for_host")
    assert asked("wandb.example.com").is_success
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert asked("nowhere.example.com").is_success, "it is sent nowhere"


def test_a_tracker_gets_no_secret_that_is_bound_elsewhere_meanwhile(
    api: Api, tenant: Tenant, tracking: WarmTasks, receiver: Receiver
) -> None:
    job_id = tenant.create_job(integrations=[WANDB])["id"]
    body = {"name": "WANDB_API_KEY", "value": SECRET, "hosts": ["wandb.example.com"]}
    assert tenant.http.post("/v1/secrets", json=body).is_success
    tracking.variables |= {"WANDB_BASE_URL": receiver.url, "WANDB_MODE": "online"}
    make_steps(api, api.claim(job_id), 1)
    wait_until_ended(api, job_id)
    assert (trackers(api, job_id)["wandb"].error or {})["code"] == "tracker_refused"
    assert any("is not bound to the host 127.0.0.1" in message for message in messages(tenant, job_id))
    assert not [each for each in receiver.requests if job_id in repr(each)]


def test_an_integration_that_the_workers_lack_is_refused(api: Api) -> None:
    with api.beside(integrations="tensorboard") as other:
        tenant = other.tenant()
        body = {"model": "tiny-model", "training_file": tenant.upload(), "integrations": [WANDB]}
        answer = tenant.http.post("/v1/fine_tuning/jobs", json=body)
        error = refusal(answer, 400, "integrations.0.type", "unsupported_integration")
        assert "tensorboard" in error["message"]
