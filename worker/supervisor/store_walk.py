"""Walks through the object store, page by page, and removes objects that nothing needs any more.

The removals of `cleanup.py` go from the rows to the objects, once. They miss what arrives later, such as the
upload of a trainer that was frozen, and what they could not delete. Only a list of the store shows those
objects. All workers share one walk, whose place is in the database.

An object goes if no row needs it, and if it belongs to a job, upload or task that has ended, or to a deleted
file. A project's file or imported adapter that was never registered goes too, after a month. What was never
written to its end goes in the same way. An object stays if it is young, or if its owner has no row here:
another installation may own it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from core.database import database_time
from core.process.failpoints import reached
from core.statuses import ENDED
from core.storage.object_store import ObjectStore, StoredObject
from core.tables import Adapter, File, Job, Project, StoreWalk, Task, Upload
from worker.supervisor.removal import log_failure, named_objects, objects_of_tasks

PAGE_KEYS = 1000
YOUNG = timedelta(hours=6)  # of an object, and since the end of its owner: something may be writing still
UNREGISTERED_KEPT = timedelta(days=30)  # the database may be an older backup, and a newer one may follow
REST = timedelta(hours=6)  # between two walks
PAGE_TIME = timedelta(minutes=5)  # after which another worker takes the page of a worker that has died

LeftBehind = Callable[[Session, Sequence[str]], Iterator[str]]


def walk_store(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Go through one page of each prefix at which the walk does not rest. It never raises."""
    for prefix in PREFIXES:
        with log_failure(f"objects under {prefix}"):
            after = _take_page(sessions, prefix)
            if after is not None:
                page = store.page(prefix, after, PAGE_KEYS)
                for key in _left(sessions, prefix, page, UNREGISTERED_KEPT):
                    with log_failure(key):
                        store.delete(key)
                if not after:  # once in a walk
                    unfinished = store.unfinished_writes(prefix, PAGE_KEYS)
                    for key in _left(sessions, prefix, unfinished, YOUNG):
                        with log_failure(key):
                            store.abort_writes(key)
                reached("page.cleaned")
                _go_on(sessions, prefix, page[-1].key if len(page) == PAGE_KEYS else "")


def _left(
    sessions: sessionmaker[Session],
    prefix: str,
    objects: Sequence[StoredObject],
    unregistered_kept: timedelta,
) -> list[str]:
    """Return the keys of the objects under the prefix that are old and that nothing needs."""
    with sessions() as session:
        now = database_time(session)

        def older(than: timedelta) -> list[str]:
            return [found.key for found in objects if found.modified_at < now - than]

        left = list(PREFIXES[prefix](session, older(YOUNG)))
        if prefix in NAMED_BY_PROJECT:
            left += _unregistered(session, older(unregistered_kept))
        return left


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
        File.id.in_({key.rpartition("/")[2] for key in keys}),
        File.object_key.in_(keys),
        File.deleted_at < func.now() - YOUNG,
    )
    return iter(session.scalars(deleted).all())


def _of_imports(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of deleted adapters, and those that late servers wrote for registered ones."""
    adapters = select(Adapter.id, Adapter.object_prefix, Adapter.deleted_at.is_(None)).where(
        Adapter.id.in_({_named(key) for key in keys})
    )
    rows = session.execute(adapters).all()
    registered, needed = {row[0] for row in rows}, tuple(row[1] for row in rows if row[2])
    return (key for key in keys if _named(key) in registered and not key.startswith(needed))


def _unregistered(session: Session, keys: Sequence[str]) -> Iterator[str]:
    """Yield the keys of files and imported adapters of our projects that have no row.

    The keys of files of earlier releases do not name the project, so nobody knows whose they are.
    """
    ours = _own_projects(session, keys)
    ids = {_named(key) for key in keys}
    known = {
        row for table in (File, Adapter) for row in session.scalars(select(table.id).where(table.id.in_(ids)))
    }
    return (key for key in keys if _owner(key) in ours and _named(key) not in known)


def _own_projects(session: Session, keys: Sequence[str]) -> set[str]:
    """Return the projects of this installation that keys name as owners."""
    return set(session.scalars(select(Project.id).where(Project.id.in_(_owners(keys)))))


def _owner(key: str) -> str:
    """Return the id that follows the prefix: of a job, an upload, a task, a project or a file."""
    return key.split("/")[1]


def _named(key: str) -> str:
    """Return the id behind the project's: of a file or an imported adapter. Older keys of files have none."""
    return key.split("/")[2] if key.count("/") > 1 else ""


def _owners(keys: Sequence[str]) -> set[str]:
    return {_owner(key) for key in keys}


NAMED_BY_PROJECT = ("files/", "imports/")
PREFIXES: dict[str, LeftBehind] = {
    "adapters/": _of_jobs,
    "checkpoints/": _of_jobs,
    "results/": _of_jobs,
    "uploads/": _of_uploads,
    "files/": _of_files,
    "imports/": _of_imports,
    "exports/": _of_tasks,
    "evalruns/": _of_tasks,
    "compositions/": _of_tasks,
    "checks/": _of_tasks,
    "conversions/": _of_tasks,
    "portabilitys/": _of_tasks,
    "trackings/": _of_tasks,
}
