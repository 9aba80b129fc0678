"""Retention: old rows go only if the operator says so, and never those that something needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from core.artifacts import Owner
from core.database import create_database, session_factory
from core.ids import first_id_at, new_id
from core.serving import stored_completions
from core.tables import (
    AuditLog,
    Base,
    Checkpoint,
    Claim,
    CompletionBytes,
    File,
    Job,
    StoredCompletion,
    Upload,
)
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.janitor import clean, keep
from tests.fixtures.service.workers import add_worker
from tests.fixtures.work.completions import allow, store
from worker.process.turns import AT_A_TIME, is_drawn
from worker.supervisor.janitor import Janitor
from worker.supervisor.retention import Retention, remove_old
from worker.supervisor.usage import count_usage

LONG_AGO = func.now() - timedelta(days=40)


def old_id(prefix: str, number: int = 0) -> str:
    """Return an id that was made 40 days ago."""
    return f"{first_id_at(prefix, datetime.now(UTC) - timedelta(days=40))}{number:020x}"


def add(api: Api, *rows: Base) -> None:
    with api.sessions.begin() as session:
        session.add_all(rows)


def left(api: Api, table: Any, column: Any, *values: str) -> list[str]:
    with api.sessions() as session:
        return sorted(session.scalars(select(column).where(column.in_(values)).select_from(table)))


def old_file(tenant: Tenant, number: int) -> File:
    return File(
        id=old_id("file-", number),
        project_id=tenant.project_id,
        filename="old.jsonl",
        purpose="fine-tune",
        bytes=1,
        sha256="",
        object_key=f"files/{old_id('file-', number)}",
        kind="chat",
        rows=12,
    )


def test_old_entries_of_the_audit_log_go_and_newer_ones_stay(api: Api, alice: Tenant) -> None:
    old = [old_id("audit_log-", number) for number in range(5)]
    new = new_id("audit_log-")
    project = {"project_id": alice.project_id, "action": "job.created", "resource_id": "ftjob-1"}
    add(api, *(AuditLog(id=each, **project) for each in [*old, new]))
    remove_old(api.sessions, Retention())
    assert left(api, AuditLog, AuditLog.id, *old, new) == [*old, new]
    remove_old(api.sessions, Retention(audit_days=41))
    assert left(api, AuditLog, AuditLog.id, *old, new) == [*old, new]
    remove_old(api.sessions, Retention(audit_days=39))
    assert left(api, AuditLog, AuditLog.id, *old, new) == [new]


def test_old_files_are_deleted_unless_a_job_reads_them(api: Api, alice: Tenant) -> None:
    unused, read, judged = old_file(alice, 1), old_file(alice, 2), old_file(alice, 3)
    add(api, unused, read, judged)
    for file in (unused, read, judged):
        with api.sessions.begin() as session:
            keep(session, Owner("file", file.id), file.object_key, alice.project_id, 1)
        api.store.put_bytes(file.object_key, b"x")
    new = alice.upload()
    job = alice.create_job(training_file=read.id, evaluate={"file": judged.id})["id"]
    remove_old(api.sessions, Retention(file_days=39))
    clean(api)
    refusal(alice.http.get(f"/v1/files/{unused.id}"), 404, "id")
    assert api.store.list(unused.object_key) == []
    for kept in (read.id, judged.id, new):
        assert alice.http.get(f"/v1/files/{kept}/content").status_code == 200
    alice.openai.fine_tuning.jobs.cancel(job)
    remove_old(api.sessions, Retention(file_days=39))
    for gone in (read.id, judged.id):
        refusal(alice.http.get(f"/v1/files/{gone}"), 404, "id")
    with api.sessions() as session:
        logged = select(AuditLog.action).where(AuditLog.resource_id.in_([unused.id, read.id, judged.id]))
        assert session.scalars(logged).all() == ["file.expired"] * 3


def test_old_attempts_go_except_the_last_and_those_of_checkpoints(api: Api, alice: Tenant) -> None:
    job_id = old_id("ftjob-")
    project = {"project_id": alice.project_id, "base_model": "tiny", "training_file_id": alice.upload()}
    ended = {"finished_at": LONG_AGO, "status": "cancelled", "fence": 4}
    add(api, Job(id=job_id, spec={}, **project, **ended))
    claim = {"owner": "a test", "expires_at": LONG_AGO, "ended_at": LONG_AGO, "outcome": "lost"}
    add(api, *(Claim(job_id=job_id, fence=fence, nonce=str(fence), **claim) for fence in (1, 2, 3, 4)))
    files = {"object_prefix": "", "files": [], "metrics": {}}
    add(api, Checkpoint(id=old_id("ftckpt-"), job_id=job_id, fence=3, step=1, promised=True, **files))
    remove_old(api.sessions, Retention(run_days=41))
    assert fences(api, job_id) == [1, 2, 3, 4]
    remove_old(api.sessions, Retention(run_days=39))
    assert fences(api, job_id) == [1, 2, 3, 4]  # the usage has not counted them yet
    count_usage(api.sessions)
    remove_old(api.sessions, Retention(run_days=39))
    assert fences(api, job_id) == [3, 4]


def test_what_is_too_old_goes_at_the_next_turn_if_the_database_was_away(
    api: Api, alice: Tenant, closed_port: int
) -> None:
    project = {"project_id": alice.project_id, "action": "job.created", "resource_id": "ftjob-1"}
    add(api, AuditLog(id=(old := old_id("audit_log-", 77)), **project))
    sessions = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    janitor = Janitor(sessions, api.store, 60, Retention(audit_days=39))
    with pytest.raises(OperationalError):
        janitor.clean()
    sessions.configure(bind=api.sessions.kw["bind"])
    janitor.clean()
    assert left(api, AuditLog, AuditLog.id, old) == []


def fences(api: Api, job_id: str) -> list[int]:
    with api.sessions() as session:
        return sorted(session.scalars(select(Claim.fence).where(Claim.job_id == job_id)))


def test_old_uploads_go(api: Api, alice: Tenant) -> None:
    common = {"project_id": alice.project_id, "filename": "a", "purpose": "batch", "bytes": 1}
    common |= {"expires_at": LONG_AGO, "status": "cancelled", "ended_at": LONG_AGO}
    add(api, Upload(id=(old := old_id("upload_")), **common))
    remove_old(api.sessions, Retention(upload_days=41))
    assert left(api, Upload, Upload.id, old) == [old]
    remove_old(api.sessions, Retention(upload_days=39))
    assert left(api, Upload, Upload.id, old) == []


def test_old_completions_go_after_their_projects_own_time_and_make_room(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_completions, "REMOVED_AT_ONCE", 2)
    brief, long, usual = (api.tenant() for _ in range(3))
    ids = {}
    for number, (tenant, days) in enumerate(((brief, 39), (long, 41), (usual, None))):
        allow(tenant, completion_days=days)
        old = [old_completion_id(10 * number + each) for each in range(3)]
        ids[tenant.project] = [store(tenant, completion_id=each) for each in [*old, None]]
    remove_old(api.sessions, Retention(completion_days=41))
    assert left_of(brief) == ids[brief.project][3:]
    assert left_of(long) == ids[long.project]
    assert left_of(usual) == ids[usual.project]
    remove_old(api.sessions, Retention(completion_days=39))
    assert left_of(usual) == ids[usual.project][3:]
    with api.sessions() as session:
        for tenant in (brief, long, usual):
            rows = select(func.sum(StoredCompletion.bytes)).where(
                StoredCompletion.project_id == tenant.project_id
            )
            counted = session.get_one(CompletionBytes, tenant.project_id).bytes
            assert counted == session.scalar(rows)


def old_completion_id(number: int) -> str:
    """Return the id of a completion that was made 40 days ago. A UUIDv7 has a 7 after its time."""
    moment = first_id_at("chatcmpl-", datetime.now(UTC) - timedelta(days=40))
    return f"{moment}7{number:019x}"


def left_of(tenant: Tenant) -> list[str]:
    return [completion.id for completion in tenant.openai.chat.completions.list()]


def test_few_workers_clean_each_time_and_of_many_as_few(api: Api) -> None:
    draws = [(number + 0.5) / 1000 for number in range(1000)]
    for workers, clean_now in ((AT_A_TIME, 1000), (2 * AT_A_TIME, 500)):
        for number in range(workers):
            add_worker(api, f"a-host:{number}")
        add_worker(api, "a-host:gone", lasts=-1)
        with api.sessions() as session:
            assert sum(is_drawn(session, drawn) for drawn in draws) == clean_now
