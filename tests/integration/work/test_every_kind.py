"""What holds for every kind of work: its tasks are made once, and nobody else sees them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.roles import Role
from core.storage.object_store import tasks_prefix
from core.tables import Task
from tests.fixtures.faults import crashes
from tests.fixtures.models.tiny import write_base
from tests.fixtures.processes.tasks import WarmTasks, task_process, variables_of
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.work.asked import (
    ANSWERED_AT_ONCE,
    ASKED,
    KINDS_OF_CLIENTS,
    Asked,
    Things,
    made_in,
    task_of,
    things_of,
)

SECONDS = 240
SHOWN = sorted(set(ANSWERED_AT_ONCE) - {"portability"})  # the kinds whose tasks a client names by their ids


@pytest.fixture(scope="module")
def api(servers: Any, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    catalog, home = write_base(tmp_path_factory.mktemp("base")), tmp_path_factory.mktemp("home")
    with job_api_on(servers, database_url, catalog_file=catalog, home=home, project_open_tasks=2) as api:
        yield api


@pytest.fixture(scope="module")
def tenant(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


@pytest.fixture(scope="module")
def things(api: Api, tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Things:
    return things_of(api, tenant, tmp_path_factory.mktemp("things"))


@pytest.fixture
def asked(kind: str, things: Things) -> Asked:
    return ASKED[kind](things)


@pytest.fixture
def tasks(kind: str, api: Api) -> Iterator[WarmTasks]:
    """Return what does tasks of the kind once it is started. It kills no process that hangs."""
    tasks = WarmTasks(api.sessions, [kind], variables_of(api.settings), leave_seconds=600.0)
    yield tasks
    tasks.stop()


def objects(api: Api, task: Task) -> list[str]:
    return list(api.store.list(tasks_prefix(task.kind, task.id)))


@pytest.mark.family(1)
@pytest.mark.parametrize("kind", KINDS_OF_CLIENTS)
@pytest.mark.exhaustive
def test_a_task_whose_process_is_killed_after_its_upload_is_made_by_the_next_one_once(
    api: Api, tenant: Tenant, asked: Asked, tasks: WarmTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in crashes.plan(tmp_path / "crashes", "place task.uploaded 1").items():
        monkeypatch.setenv(name, value)
    before, task_id = made_in(api, tenant.project_id), asked.post(tenant)
    tasks.start()
    wait_for(lambda: task_of(api, task_id).finished_at, SECONDS)
    task = task_of(api, task_id)
    assert (task.status, task.error, task.fence, task.losses) == ("succeeded", None, 2, 1)
    assert crashes.left(tmp_path / "crashes") == []
    made = {task.made_file_id, task.adapter_id} - before - {None}
    assert made_in(api, tenant.project_id) - before == made
    if task.object_prefix:
        listed = {f"{task.object_prefix}{file['name']}" for file in task.files}
        assert listed <= set(objects(api, task))


@pytest.mark.family(3)
@pytest.mark.parametrize("kind", KINDS_OF_CLIENTS)
@pytest.mark.exhaustive
def test_a_frozen_process_whose_task_was_cancelled_writes_nothing(
    api: Api, tenant: Tenant, asked: Asked, tasks: WarmTasks
) -> None:
    before, task_id = made_in(api, tenant.project_id), asked.post(tenant)
    tasks.start()
    frozen = task_process()
    os.kill(frozen.pid, signal.SIGSTOP)
    asked.cancel(tenant, task_id)
    os.kill(frozen.pid, signal.SIGCONT)
    wait_for(lambda: not frozen.is_running() or frozen.status() == psutil.STATUS_ZOMBIE, SECONDS)
    task = task_of(api, task_id)
    assert (task.status, task.files, task.report, task.made_file_id) == ("cancelled", [], None, None)
    assert made_in(api, tenant.project_id) == before
    if not asked.waits:
        refusal(tenant.http.post(asked.cancel_path(task_id)), 409, code="task_ended")


@pytest.mark.parametrize("kind", KINDS_OF_CLIENTS)
def test_another_project_sees_and_starts_nothing(api: Api, tenant: Tenant, asked: Asked) -> None:
    task_id, stranger = asked.post(tenant), api.tenant().http
    at = asked.shown or asked.path
    assert stranger.post(asked.path, json=asked.body).status_code in (400, 404)
    listed = stranger.get(at)
    assert listed.status_code == 404 or task_id not in listed.text
    assert stranger.get(f"{at}/{task_id}").status_code == 404
    assert stranger.post(asked.cancel_path(task_id)).status_code == 404
    assert stranger.delete(f"{at}/{task_id}").status_code in (404, 405)
    assert task_of(api, task_id).status == "queued"
    asked.cancel(tenant, task_id)


@pytest.mark.parametrize("kind", ANSWERED_AT_ONCE)
def test_a_repeated_request_starts_one_task(tenant: Tenant, asked: Asked) -> None:
    key = {"Idempotency-Key": f"once {asked.path}"}
    task_id = asked.post(tenant, **key)
    assert asked.post(tenant, **key) == task_id
    another = asked.post(tenant)
    assert (another == task_id) == (asked.shown is None)
    for each in {task_id, another}:
        asked.cancel(tenant, each)


@pytest.mark.parametrize("kind", KINDS_OF_CLIENTS)
def test_a_project_has_so_many_unfinished_tasks_of_any_kind(
    tenant: Tenant, things: Things, asked: Asked
) -> None:
    waiting = [ASKED["check"](things), ASKED["conversion"](things)]
    ids = [each.post(tenant) for each in waiting]
    error = refusal(tenant.http.post(asked.path, json=asked.body), 429)
    assert "2 unfinished" in error["message"]
    for each, task_id in zip(waiting, ids, strict=True):
        each.cancel(tenant, task_id)


@pytest.mark.parametrize("kind", SHOWN)
def test_pages_reach_every_task_once_and_an_unfinished_one_is_not_deleted(
    tenant: Tenant, asked: Asked
) -> None:
    made = []
    for _ in range(3):
        made.append(asked.post(tenant))
        deleted = tenant.http.delete(f"{asked.shown}/{made[-1]}")
        assert deleted.status_code == 405 or refusal(deleted, 409, code="task_not_ended")
        asked.cancel(tenant, made[-1])
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while page := tenant.http.get(str(asked.shown), params=query).json()["data"]:
        seen += [each["id"] for each in page]
        query["after"] = seen[-1]
    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)
    assert sorted(seen) in (seen, seen[::-1])
