"""Which task a process takes next, and whether a task gives way, with tasks in the real database."""

import pytest

from core.errors import RateLimited
from core.tables import Task
from core.work import client
from core.work import lease as leases
from core.work.kinds import KINDS
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.work.requests import REQUESTS

COMPUTING, ASKING = ("composition", "export"), ("evalrun",)


def created(api: Api, tenant: Tenant, kind: str, most_open: int | None = None) -> str:
    """Put a task that asks for nothing into the queue, and return its id. Without a limit, it is a job's."""
    with api.sessions.begin() as session:
        return client.create(session, tenant.project_id, KINDS[kind], REQUESTS[kind], most_open).id


def taken(api: Api, *kinds: str) -> str | None:
    with api.sessions.begin() as session:
        lease = leases.take(session, "a process", kinds)
    return lease and lease.task_id


def test_a_tracker_waits_for_its_job_to_run_and_keeps_nobody_waiting(api: Api) -> None:
    tenant = api.tenant()
    job_id = tenant.create_job(integrations=[{"type": "tensorboard"}])["id"]
    assert taken(api, "tracking") is None
    export = created(api, tenant, "export", most_open=1)
    assert taken(api, "export", "tracking") == export
    api.claim(job_id)
    assert str(taken(api, "tracking")).startswith("tracking-")
    tenant.openai.fine_tuning.jobs.cancel(job_id)


def test_only_tasks_of_kinds_that_share_places_count_for_whose_turn_it_is(api: Api) -> None:
    asks, waits = api.tenant(), api.tenant()
    run = created(api, asks, "evalrun")
    assert taken(api, *ASKING) == run
    first, second = created(api, asks, "export"), created(api, waits, "export")
    assert taken(api, *COMPUTING) == first, "its running eval takes no place of an export"
    last = created(api, asks, "composition")
    assert [taken(api, *COMPUTING) for _ in range(3)] == [second, last, None]


@pytest.mark.parametrize(("runs", "gives_way"), [("evalrun", False), ("export", True)])
def test_a_task_gives_way_to_a_project_without_a_running_task_of_its_kind(
    api: Api, runs: str, gives_way: bool
) -> None:
    long, other = api.tenant(), api.tenant()
    run, beside = created(api, long, "evalrun"), created(api, other, runs)
    assert [taken(api, "evalrun"), taken(api, runs)] == [run, beside]
    waiting = created(api, other, "evalrun")
    with api.sessions.begin() as session:
        task = session.get_one(Task, run)
        assert leases.other_projects_wait(session, task) is gives_way
        client.cancel(session, session.get_one(Task, waiting))


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
