"""Tasks of every kind whose worker is killed while it does them: another worker ends each of them once."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from core.tables import Adapter, File, Task
from tests.fixtures.faults import crashes
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import Stack
from tests.fixtures.work.asked import ASKED, KINDS_OF_CLIENTS, things_of

SECONDS = 240
AT_ONCE = {"task_processes": "5", "eval_processes": "1"}


@pytest.mark.exhaustive
def test_a_killed_worker_s_tasks_are_each_ended_once_by_another(stack: Stack, tmp_path: Path) -> None:
    """Every task has uploaded its files when its worker dies, and has written nothing of them."""
    begun = tasks_of_each_kind(stack, tmp_path)
    files = stored_files(stack)
    places = tmp_path / "waiting"
    first = stack.start_worker(crashes.waits_at("task.uploaded", places), **AT_ONCE)

    def all_wait() -> bool:
        ended = {kind: task.error for kind, task in tasks(stack, begun).items() if task.finished_at}
        assert not ended, ended
        return len(crashes.waiting(places)) == len(KINDS_OF_CLIENTS)

    wait_for(all_wait, SECONDS)
    assert {task.status for task in tasks(stack, begun).values()} == {"running"}
    first.kill()
    for process_id in crashes.waiting(places):
        wait_for(lambda process_id=process_id: has_ended(process_id), SECONDS)
    left = tasks(stack, begun)
    assert {(task.status, task.losses) for task in left.values()} == {("queued", 0)}

    stack.start_worker(**AT_ONCE)
    wait_for(lambda: all(task.finished_at for task in tasks(stack, begun).values()), SECONDS)
    done = tasks(stack, begun)
    ends = {kind: (task.status, task.fence, task.losses, task.error) for kind, task in done.items()}
    assert ends == dict.fromkeys(KINDS_OF_CLIENTS, ("succeeded", 2, 0, None))
    with stack.sessions() as session:
        composed = select(Adapter.id).where(Adapter.origin["composition_id"].astext == begun["composition"])
        assert session.scalars(composed).all() == [done["composition"].adapter_id]
    assert stored_files(stack) == files + 1, "of the conversion alone"
    for kind in ("export", "evalrun"):
        task = done[kind]
        prefix = f"{task.object_prefix}"
        assert {f"{prefix}{file['name']}" for file in task.files} <= set(stack.store.list(prefix))


def tasks_of_each_kind(stack: Stack, folder: Path) -> Mapping[str, str]:
    """Create a task of each kind, and return their ids."""
    things = things_of(stack.api, stack.tenant, folder)
    return {kind: ASKED[kind](things).post(stack.tenant) for kind in KINDS_OF_CLIENTS}


def tasks(stack: Stack, ids: Mapping[str, str]) -> dict[str, Task]:
    with stack.sessions() as session:
        return {kind: session.get_one(Task, task_id) for kind, task_id in ids.items()}


def stored_files(stack: Stack) -> int:
    with stack.sessions() as session:
        return session.scalars(select(func.count()).select_from(File)).one()


def has_ended(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
