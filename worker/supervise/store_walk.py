"""Walks through the object store, page by page, and removes objects that nothing needs any more.

The removals of `cleanup.py` go from the rows to the objects, once. They miss what arrives later, such as the
upload of a trainer that was frozen, and what they could not delete. Only a list of the store shows those
objects. All workers share one walk, whose place is in the database.

An object goes if it belongs to a job, upload or task that has ended, or to a file that is deleted, and if
no row needs it. An object stays if it is young, or if its owner has no row here: another installation may
own it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from core.database import database_time
from core.failpoints import reached
from core.statuses import ENDED
from core.storage.object_store import ObjectStore
from core.tables import File, Job, StoreWalk, Task, Upload
from worker.supervise.removal import log_failure, named_objects, objects_of_tasks

PAGE_KEYS = 1000
YOUNG = timedelta(hours=6)  # of an object, and since the end of its owner: something may be writing still
REST = timedelta(hours=6)  # between two walks
PAGE_TIME = timedelta(minutes=5)  # after which another worker takes the page of a worker that has died

LeftBehind = Callable[[Session, Sequence[str]], Iterator[str]]


def walk_store(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Go through one page of each prefix at which the walk does not rest. It never raises."""
    for prefix, left_behind in PREFIXES.items():
        with log_failure(f"objects under {prefix}"):
            after = _take_page(sessions, prefix)
            if after is not None:
                page = store.page(prefix, after, PAGE_KEYS)
                with sessions() as session:
                    young_since = database_time(session) - YOUNG
                    old = [found.key for found in page if found.modified_at < young_since]
                    left = list(left_behind(session, old))
                for key in left:
                    with log_failure(key):
                        store.delete(key)
                reached("page.cleaned")
                _go_on(sessions, prefix, page[-1].key if len(page) == PAGE_KEYS else "")


def _take_page(sessions: sessionmaker[Session], prefix: str) -> str | None:
    """Return the key after which the next page begins, or None if it is not time for a page."""
    busy_until = func.now() + PAGE_TIME
    taken = insert(StoreWalk).values(prefix=prefix, next_page_at=busy_until)
    taken = taken.on_conflict_do_update(
        index_elements=[StoreWalk.prefix],
        set_={"next_page_at": busy_until},
        where=StoreWalk.next_page_at <= func.now(),
    )
    with sessions.begin() as session:
        return session.scalar(taken.returning(StoreWalk.after))


def _go_on(sessions: sessionmaker[Session], prefix: str, after: str) -> None:
    """Let the next page begin after the key `after`. With an empty key, the next walk begins later."""
    rest = timedelta() if after else REST
    walk = update(StoreWalk).where(StoreWalk.prefix == prefix)
    with sessions.begin() as session:
        session.execute(walk.values(after=after, next_page_at=func.now() + rest))


def _of_jobs(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of objects that jobs have left behind."""
    ended = select(Job.id).where(
        Job.id.in_(_owners(keys)), Job.status.in_(ENDED), Job.finished_at < func.now() - YOUNG
    )
    jobs = set(session.scalars(ended))
    named = tuple(named_objects(session, jobs))
    return (key for key in keys if _owner(key) in jobs and not key.startswith(named))


def _of_uploads(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of objects that uploads have left behind."""
    ended = (
        select(Upload.id, File.object_key)
        .outerjoin(File, (File.id == Upload.file_id) & File.deleted_at.is_(None))
        .where(Upload.id.in_(_owners(keys)), Upload.ended_at < func.now() - YOUNG)
    )
    files = {row.id: row.object_key for row in session.execute(ended)}
    return (key for key in keys if _owner(key) in files and files[_owner(key)] != key)


def _of_tasks(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of objects that attempts at tasks have left behind."""
    ended = select(Task.id).where(Task.id.in_(_owners(keys)), Task.finished_at < func.now() - YOUNG)
    tasks = set(session.scalars(ended))
    named = tuple(objects_of_tasks(session, tasks))
    return (key for key in keys if _owner(key) in tasks and not key.startswith(named))


def _of_files(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of deleted files."""
    deleted = select(File.object_key).where(
        File.id.in_(_owners(keys)), File.object_key.in_(keys), File.deleted_at < func.now() - YOUNG
    )
    return iter(session.scalars(deleted).all())


def _owner(key: str) -> str:
    """Return the id that follows the prefix: of a job, an upload, a file or a task."""
    return key.split("/")[1]


def _owners(keys: Sequence[str]) -> set[str]:
    return {_owner(key) for key in keys}


PREFIXES: dict[str, LeftBehind] = {
    "adapters/": _of_jobs,
    "checkpoints/": _of_jobs,
    "results/": _of_jobs,
    "uploads/": _of_uploads,
    "files/": _of_files,
    "exports/": _of_tasks,
    "evalruns/": _of_tasks,
    "compositions/": _of_tasks,
    "checks/": _of_tasks,
    "conversions/": _of_tasks,
}
