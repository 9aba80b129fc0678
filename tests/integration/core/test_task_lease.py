"""Which task a process takes next, and whether a task gives way, with tasks in the real database."""

import pytest

from core.tables import Task
from core.tasks import client
from core.tasks import lease as leases
from tests.fixtures.api import Api, Tenant

COMPUTING, ASKING = ("composition", "export"), ("evalrun",)


def created(api: Api, tenant: Tenant, kind: str) -> str:
    """Put a task that asks for nothing into the queue, and return its id."""
    with api.sessions.begin() as session:
        return client.create(session, tenant.project_id, kind, {}, None).id


def taken(api: Api, *kinds: str) -> str | None:
    with api.sessions.begin() as session:
        lease = leases.take(session, "a process", kinds)
    return lease and lease.task_id


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
