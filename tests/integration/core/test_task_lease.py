"""Which task a process takes next, and whether a task gives way, with tasks in the real database."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, update

from core.errors import RateLimited
from core.jobs import lifecycle
from core.tables import Task
from core.work import client
from core.work import lease as leases
from core.work.kinds import KINDS
from core.work.lease import MOST_WAIT
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.service.workers import add_worker
from tests.fixtures.work.requests import REQUESTS
from worker.tasks.frame.waiting import WaitingTasks

COMPUTING, ASKING = ("composition", "export"), ("evalrun",)


def created(api: Api, tenant: Tenant, kind: str, most_open: int | None = None) -> str:
    """Put a task that asks for nothing into the queue, and return its id. Without a limit, it is a job's."""
    with api.sessions.begin() as session:
        return client.create(session, tenant.project_id, KINDS[kind], REQUESTS[kind], most_open).id


def taken(api: Api, *kinds: str, beside_training: bool = False) -> str | None:
    with api.sessions.begin() as session:
        lease = leases.take(session, "a process", kinds, beside_training=beside_training)
    return lease and lease.task_id


def changed(api: Api, task_id: str, **values: Any) -> None:
    with api.sessions.begin() as session:
        session.execute(update(Task).where(Task.id == task_id).values(**values))


def test_a_tracker_waits_for_its_job_to_run_and_keeps_nobody_waiting(api: Api) -> None:
    tenant = api.tenant()
    job_id = tenant.create_job(integrations=[{"type": "tensorboard"}])["id"]
    assert taken(api, "tracking") is None
    export = created(api, tenant, "export", most_open=1)
    assert taken(api, "export", "tracking") == export
    api.claim(job_id)
    assert str(taken(api, "tracking")).startswith("tracking-")
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_only_tasks_of_kinds_that_share_processes_count_for_which_project_is_next(api: Api) -> None:
    asks, waits = api.tenant(), api.tenant()
    run = created(api, asks, "evalrun")
    assert taken(api, *ASKING) == run
    first, second = created(api, asks, "export"), created(api, waits, "export")
    assert taken(api, *COMPUTING) == first, "its running eval takes no process of an export"
    last = created(api, asks, "composition")
    assert [taken(api, *COMPUTING) for _ in range(3)] == [second, last, None]


def test_a_project_that_deletes_its_tasks_is_not_taken_for_one_that_was_never_served(api: Api) -> None:
    deletes, waits = api.tenant(), api.tenant()
    for tenant in (waits, deletes):
        task_id = created(api, tenant, "export")
        assert taken(api, *COMPUTING) == task_id
        with api.sessions.begin() as session:
            task = session.get_one(Task, task_id)
            client.cancel(session, task)
            if tenant is deletes:
                client.delete(session, task)
    later, first = created(api, deletes, "export"), created(api, waits, "export")
    assert [taken(api, *COMPUTING) for _ in range(2)] == [first, later]


def test_a_task_whose_process_still_imports_its_libraries_is_not_taken_by_another_one(api: Api) -> None:
    task_id = created(api, api.tenant(), "export")
    assert taken(api, "export") == task_id
    changed(api, task_id, held_until=Task.held_until - timedelta(minutes=5))
    assert taken(api, "export") is None


@pytest.mark.parametrize(
    ("kind", "runs", "waits", "gives_way"),
    [
        ("evalrun", "evalrun", "evalrun", False),
        ("evalrun", "export", "evalrun", True),
        ("composition", "check", "export", True),
        ("composition", "evalrun", "check", False),
    ],
)
def test_a_task_gives_way_to_a_project_without_a_running_task_of_its_class(
    api: Api, kind: str, runs: str, waits: str, gives_way: bool
) -> None:
    long, other = api.tenant(), api.tenant()
    run, beside = created(api, long, kind), created(api, other, runs)
    assert [taken(api, kind), taken(api, runs)] == [run, beside]
    waiting = created(api, other, waits)
    with api.sessions.begin() as session:
        task = session.get_one(Task, run)
        assert leases.other_projects_wait(session, task) is gives_way
        for each in (run, beside, waiting):
            client.cancel(session, session.get_one(Task, each))


def test_work_that_nobody_asked_for_waits_for_the_training_but_not_for_ever(api: Api) -> None:
    unasked, asked = created(api, api.tenant(), "portability"), created(api, api.tenant(), "export")
    kinds = "portability", "export"
    assert [taken(api, *kinds, beside_training=True) for _ in range(2)] == [asked, None]
    with api.sessions() as session:
        assert leases.waits_for_training(session, unasked)
        assert not leases.waits_for_training(session, asked)
    changed(api, unasked, created_at=func.now() - MOST_WAIT)
    assert taken(api, *kinds, beside_training=True) == unasked
    with api.sessions() as session:
        assert not leases.waits_for_training(session, unasked), "it does not give way either"


@pytest.mark.parametrize(
    ("owner", "device", "trains"),
    [("this", None, True), ("this", "cpu", True), ("this", "cuda", False), ("another:1", None, False)],
)
def test_a_job_trains_here_while_a_trainer_of_this_machine_holds_it_and_has_no_gpu(
    api: Api, owner: str, device: str | None, trains: bool
) -> None:
    tenant = api.tenant()
    owner = lifecycle.new_owner() if owner == "this" else owner
    if device is not None:
        add_worker(api, owner, device_type=device)
    job_id = tenant.create_job()["id"]
    api.claim(job_id, owner=owner)
    with api.sessions() as session:
        assert lifecycle.trains_here(session) is trains
    tenant.openai.fine_tuning.jobs.cancel(job_id)
    with api.sessions() as session:
        assert not lifecycle.trains_here(session)


def test_a_measurement_that_a_job_has_started_waits_for_all_that_somebody_asked_for(api: Api) -> None:
    trains, asks = api.tenant(), api.tenant()
    unasked = created(api, trains, "portability")
    asked = [created(api, asks, "portability", most_open=2) for _ in range(2)]
    assert [taken(api, "portability") for _ in range(4)] == [*asked, unasked, None]


def test_a_measurement_that_a_job_has_started_takes_no_room_of_a_clients_tasks(api: Api) -> None:
    tenant = api.tenant()
    created(api, tenant, "portability")
    created(api, tenant, "export", most_open=1)
    with pytest.raises(RateLimited):
        created(api, tenant, "export", most_open=1)


def test_workers_look_for_kinds_that_wait_without_waiting_for_others_that_take_tasks(api: Api) -> None:
    task_id = created(api, api.tenant(), "check")
    with api.sessions.begin() as taking:
        assert leases.take(taking, "a process", ["check"]) is not None, "its lock is held until the commit"
        assert checks_wait(api)
    assert not checks_wait(api)
    changed(api, task_id, held_until=func.now() - timedelta(seconds=1))
    assert checks_wait(api), "the process is lost"
    changed(api, task_id, status="queued", held_until=func.now() + timedelta(hours=1))
    assert not checks_wait(api), "nobody may take it for an hour"


def test_a_tracker_whose_job_does_not_run_yet_makes_no_worker_take_the_lock(api: Api) -> None:
    tenant = api.tenant()
    job_id = tenant.create_job(integrations=[{"type": "tensorboard"}])["id"]
    with api.sessions() as session:
        assert leases.ready_kinds(session) == set()
    api.claim(job_id)
    with api.sessions() as session:
        assert leases.ready_kinds(session) == {"tracking"}
        assert "tracking" not in leases.waiting_kinds(session), "it is asked for more rarely"
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_the_threads_of_a_worker_look_once_for_all(api: Api) -> None:
    waiting = WaitingTasks(api.sessions, fresh_seconds=600)
    assert not waiting.any_of(["conversion"])
    created(api, api.tenant(), "conversion")
    assert not waiting.any_of(["conversion"]), "it has looked just before"
    assert WaitingTasks(api.sessions).any_of(["check", "conversion"])


def checks_wait(api: Api) -> bool:
    with api.sessions() as session:
        return "check" in leases.waiting_kinds(session)
