"""The numbers by which KEDA and `tunery slurm` scale: their queries, asked of a real database."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, text, update

from cli.slurm.demand import Demand, count_work, demand
from core.access.projects import set_quotas
from core.jobs import lifecycle, queue
from core.serving import registry
from core.tables import Claim, Project, Server, Task, WebhookDelivery
from core.work import client
from core.work import lease as leases
from core.work.kinds import KINDS
from tests.fixtures.outside.chart import render
from tests.fixtures.service.jobs import Jobs
from tests.fixtures.work.deliveries import due_delivery
from tests.fixtures.work.requests import REQUESTS

WORKERS = {"gpu": None, "one": {"autoscaling": {"tasks": False}}, "eight": {"devices": 8}}
WORKERS_ASKED = {"worker-one": (1, False), "worker-eight": (8, True)}
SCALED = {"enabled": True}
LIMIT = 3


def wanted(jobs: Jobs, name: str, limit: int | None = LIMIT) -> int:
    """Return what KEDA finds for a worker or a server of the chart."""
    objects = render(
        settings={"TUNERY_PROJECT_JOBS": limit} if limit else {},
        workers=WORKERS,
        workerDefaults={"autoscaling": SCALED},
        serverDefaults={"autoscaling": SCALED},
    ).of_kind("ScaledObject")
    (trigger,) = objects[f"tunery-{name}"]["spec"]["triggers"]
    with jobs.sessions() as session:
        found = session.scalar(text(trigger["metadata"]["query"]))
    assert isinstance(found, int)
    if name in WORKERS_ASKED:
        devices, tasks = WORKERS_ASKED[name]
        with jobs.sessions() as session:
            assert count_work(session.connection(), limit, devices, tasks=tasks, running=True) == found
    return found


@pytest.fixture(autouse=True)
def _no_tasks(all_jobs: Jobs) -> Iterator[None]:
    yield
    with all_jobs.sessions.begin() as session:
        session.execute(update(Task).values(status="cancelled", finished_at=func.now()))
        for table in (WebhookDelivery, Server):
            session.execute(delete(table))


def created(jobs: Jobs, kind: str) -> str:
    project = jobs.new_project()
    with jobs.sessions.begin() as session:
        return client.create(session, project, KINDS[kind], REQUESTS[kind], None).id


def test_nothing_to_do_wants_nobody(jobs: Jobs) -> None:
    assert [wanted(jobs, name) for name in ("worker-one", "worker-eight", "server-gpu")] == [0, 0, 0]


def test_jobs_of_a_device_class_want_its_workers_while_they_wait_and_while_they_run(jobs: Jobs) -> None:
    for _ in range(2):
        jobs.submit()
    waiting = jobs.submit(devices=8)
    assert (wanted(jobs, "worker-one"), wanted(jobs, "worker-eight")) == (2, 1)
    lease = jobs.claim(devices=8)
    assert wanted(jobs, "worker-eight") == 1, "a worker that trains must not be taken away"
    jobs.finish(lease)
    assert lease.job_id == waiting
    assert (wanted(jobs, "worker-one"), wanted(jobs, "worker-eight")) == (2, 0)


def test_slurm_is_told_what_waits_and_how_many_workers_train(jobs: Jobs) -> None:
    """Four jobs that one worker trains together ask for no other worker."""
    for _ in range(2):
        jobs.submit()
        jobs.claim(owner="one")
    jobs.submit(devices=8)
    jobs.claim(devices=8, owner="another")
    jobs.submit()
    created(jobs, "export")
    with jobs.sessions() as session:
        assert demand(session.connection(), None, 1) == Demand(jobs=1, tasks=False, busy=1)
        assert demand(session.connection(), None, 8) == Demand(jobs=0, tasks=True, busy=1)


def test_a_job_that_has_lost_its_worker_asks_slurm_for_one(jobs: Jobs) -> None:
    """Nobody else would put it back into the queue, if it was the only worker."""
    jobs.submit()
    jobs.claim()
    with jobs.sessions.begin() as session:
        session.execute(update(Claim).values(expires_at=func.now() - timedelta(seconds=1)))
        assert demand(session.connection(), None, 1) == Demand(jobs=1, tasks=False, busy=0)


def test_a_task_that_runs_asks_slurm_for_no_other_worker(jobs: Jobs) -> None:
    created(jobs, "export")
    with jobs.sessions.begin() as session:
        assert leases.take(session, "holder") is not None
    with jobs.sessions() as session:
        assert demand(session.connection(), None, 1) == Demand(jobs=0, tasks=False, busy=0)
    assert wanted(jobs, "worker-eight") == 1, "KEDA takes no worker away that does a task"


def test_without_a_limit_all_jobs_want_workers(jobs: Jobs) -> None:
    project = jobs.new_project()
    for _ in range(5):
        jobs.submit(project_id=project)
    jobs.claim()
    assert wanted(jobs, "worker-one", limit=None) == 5


def test_a_paused_job_wants_nobody_until_it_is_resumed(jobs: Jobs) -> None:
    job = jobs.submit()
    jobs.change(lifecycle.pause, job)
    assert wanted(jobs, "worker-one") == 0
    jobs.change(lifecycle.resume, job)
    assert wanted(jobs, "worker-one") == 1


def test_jobs_that_the_limit_of_their_project_keeps_waiting_want_nobody(jobs: Jobs) -> None:
    """As many workers are wanted as could claim a job, by the rule of the queue itself."""
    usual, own = jobs.new_project(), jobs.new_project()
    with jobs.sessions.begin() as session:
        set_quotas(session, session.get_one(Project, own), {"running_jobs": 1})
    for project in (usual, own):
        for _ in range(5):
            jobs.submit(project_id=project)
    assert wanted(jobs, "worker-one") == LIMIT + 1
    claimed = 0
    while jobs.try_to_claim(project_jobs=LIMIT):
        claimed += 1
    assert claimed == wanted(jobs, "worker-one") == LIMIT + 1
    with jobs.sessions() as session:
        assert not queue.jobs_wait(session, LIMIT)


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind != "tracking"])
def test_open_tasks_together_want_one_worker_where_a_value_says_so(jobs: Jobs, kind: str) -> None:
    for _ in range(3):
        task = created(jobs, kind)
    assert (wanted(jobs, "worker-eight"), wanted(jobs, "worker-one")) == (1, 0)
    jobs.submit(devices=8)
    assert wanted(jobs, "worker-eight") == 1, "the worker of the job does the tasks too"
    with jobs.sessions.begin() as session:
        later = func.now() + timedelta(hours=1)
        session.execute(
            update(Task).where(Task.id != task).values(status="cancelled", finished_at=func.now())
        )
        session.execute(update(Task).where(Task.id == task).values(held_until=later))
    jobs.finish(jobs.claim(devices=8))
    assert wanted(jobs, "worker-eight") == 0, "nobody may take the task for an hour"


def test_the_tracking_of_a_paused_job_wants_nobody(jobs: Jobs) -> None:
    created(jobs, "tracking")
    assert wanted(jobs, "worker-eight") == 0


def test_a_webhook_that_is_due_wants_a_worker(jobs: Jobs) -> None:
    due_delivery(jobs.sessions, jobs.new_project())
    assert (wanted(jobs, "worker-eight"), wanted(jobs, "worker-one")) == (1, 0)
    with jobs.sessions.begin() as session:
        session.execute(update(WebhookDelivery).values(next_attempt_at=func.now() + timedelta(hours=1)))
    assert wanted(jobs, "worker-eight") == 0


def test_answers_and_runs_of_evals_want_servers(jobs: Jobs) -> None:
    known = {
        "id": "server",
        "address": "http://a:1",
        "host": "a",
        "release": "0.1.0",
        "bases": [],
        "capacity": 9,
    }
    busy = {"resident": None, "adapters": [], "running": 3, "waiting": 4, "draining": False}
    with jobs.sessions.begin() as session:
        registry.report(session, known, busy)
    assert wanted(jobs, "server-gpu") == 7
    created(jobs, "evalrun")
    assert wanted(jobs, "server-gpu") == 8
    with jobs.sessions.begin() as session:
        session.execute(update(Server).values(expires_at=func.now() - timedelta(seconds=1)))
    assert wanted(jobs, "server-gpu") == 1, "a server that is gone counts no more, and the run still waits"
