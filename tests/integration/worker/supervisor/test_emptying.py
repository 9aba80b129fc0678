"""The ledger of what is stored: what is kept stays, all else goes in the end, and the quota is its sum."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import OperationalError

from core import artifacts
from core.artifacts import LONGEST_WORK, Owner, stored_bytes
from core.errors import OutsideFault
from core.jobs.lifecycle import Lease
from core.storage.object_store import PART_BYTES, ObjectStore, checkpoint_prefix
from core.tables import Artifact, Checkpoint, Metric
from faults.stored import not_as_in_the_ledger
from tests.fixtures.faults.database import broken_once
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.janitor import GRACE_OVER, clean, leftovers
from tests.fixtures.work.evals_api import EVALS, finish_run, judged, make_eval, make_run
from worker.supervisor import janitor
from worker.supervisor.emptying import RETRY, empty_artifacts
from worker.supervisor.janitor import Janitor
from worker.supervisor.removal import delete_in_batches
from worker.supervisor.retention import Retention

LATE = timedelta(hours=6), timedelta(days=30)


@pytest.fixture
def prefix(api: Api, alice: Tenant) -> str:
    """Return the prefix of an artifact that somebody has begun to write."""
    return opened(api, alice)


def opened(api: Api, tenant: Tenant, size: int = 0) -> str:
    owner = Owner("file", f"file-{uuid4().hex}")
    prefix = f"files/{tenant.project_id}/{owner.id}"
    with api.sessions.begin() as session:
        artifacts.open(session, owner, prefix, tenant.project_id, announced=size)
    return prefix


def kept(api: Api, prefix: str, size: int = 1) -> None:
    with api.sessions.begin() as session:
        artifacts.keep(session, prefix, size)


def doomed(api: Api, prefix: str) -> None:
    with api.sessions.begin() as session:
        artifacts.doom(session, Artifact.prefix == prefix)


def in_ledger(api: Api, prefix: str) -> str | None:
    with api.sessions() as session:
        return session.scalars(select(Artifact.state).where(Artifact.prefix == prefix)).one_or_none()


def counted(api: Api, tenant: Tenant) -> int:
    with api.sessions() as session:
        return stored_bytes(session, tenant.project_id)


# Writers that die, and late ones


@pytest.mark.parametrize("step", ["opened", "half written", "written"])
def test_a_writer_that_dies_at_any_step_leaves_nothing_for_ever(api: Api, prefix: str, step: str) -> None:
    if step == "half written":
        api.store.writer(prefix).write(b"x" * 2 * PART_BYTES)
    elif step == "written":
        api.store.put_bytes(prefix, b"bytes")
    clean(api)
    assert in_ledger(api, prefix) == "writing", "it may go on"
    for time in (LONGEST_WORK, *LATE):
        clean(api, time)
        assert (api.store.list(prefix), api.unfinished_uploads(prefix)) == ([], [])
    assert in_ledger(api, prefix) is None


def test_what_a_frozen_writer_adds_later_goes_too(api: Api, prefix: str) -> None:
    doomed(api, prefix)
    for time in (timedelta(), *LATE):
        api.store.put_bytes(prefix, b"late")
        clean(api, time)
        assert api.store.list(prefix) == []
    assert in_ledger(api, prefix) is None


def test_what_was_emptied_cannot_be_kept_any_more(api: Api, prefix: str) -> None:
    api.store.put_bytes(prefix, b"bytes")
    clean(api, LONGEST_WORK)
    with pytest.raises(OutsideFault, match="removed before it was complete"):
        kept(api, prefix)
    assert in_ledger(api, prefix) == "doomed"


def test_a_repeated_opening_or_keeping_changes_nothing(api: Api, alice: Tenant, prefix: str) -> None:
    kept(api, prefix, 7)
    with api.sessions.begin() as session:
        artifacts.open(session, Owner("file", "file-other"), prefix, alice.project_id)
    kept(api, prefix, 7)
    clean(api, LONGEST_WORK * 2)
    assert in_ledger(api, prefix) == "kept"


@pytest.mark.exhaustive
def test_whatever_happens_kept_bytes_stay_others_go_and_the_quota_is_the_sum(api: Api) -> None:
    tenant, chance = api.tenant(), random.Random(31)
    sizes: dict[str, int] = {}
    needed: set[str] = set()
    ended: set[str] = set()  # kept once: their writers have gone
    for _ in range(150):
        action = chance.choice(["open", "open", "keep", "keep", "doom", "write late", "clean"])
        chosen = chance.choice(sorted(sizes)) if sizes else None
        if action == "open":
            prefix = opened(api, tenant, size := chance.randrange(100))
            sizes[prefix] = size
            api.store.put_bytes(prefix, b"bytes")
        elif chosen is None:
            continue
        elif action == "keep" and in_ledger(api, chosen) == "writing":
            kept(api, chosen, size := chance.randrange(100))
            sizes[chosen], needed, ended = size, needed | {chosen}, ended | {chosen}
        elif action == "doom":
            doomed(api, chosen)
            sizes[chosen], needed = 0, needed - {chosen}
        elif action == "write late" and chosen not in ended:
            api.store.put_bytes(chosen, b"late")
        elif action == "clean":
            clean(api)
        assert counted(api, tenant) == sum(sizes.values())
        assert needed <= set(api.store.list(f"files/{tenant.project_id}/"))
    clean(api, LONGEST_WORK)
    for time in LATE:
        clean(api, time)
    assert set(api.store.list(f"files/{tenant.project_id}/")) == needed
    assert counted(api, tenant) == sum(sizes[prefix] for prefix in needed)


# Janitors and stores


def test_janitors_at_once_empty_all_of_it_and_nothing_else(api: Api, alice: Tenant) -> None:
    prefixes = [opened(api, alice) for _ in range(20)]
    for number, prefix in enumerate(prefixes):
        api.store.put_bytes(prefix, b"bytes")
        (doomed if number % 2 else kept)(api, prefix)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: empty_artifacts(api.sessions, api.store), range(3)))
    assert [bool(api.store.list(prefix)) for prefix in prefixes] == [True, False] * 10


def test_what_a_store_that_is_away_keeps_is_removed_later(api: Api, prefix: str, closed_port: int) -> None:
    api.store.put_bytes(prefix, b"bytes")
    doomed(api, prefix)
    away = ObjectStore(f"http://127.0.0.1:{closed_port}", "nowhere", retries=0)
    janitor.clean(api.sessions, away)
    assert (in_ledger(api, prefix), len(api.store.list(prefix))) == ("doomed", 1)
    clean(api, RETRY)
    assert api.store.list(prefix) == []


def test_what_the_store_refuses_to_delete_keeps_nothing_else_from_being_emptied(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = [opened(api, alice) for _ in range(3)]
    for prefix in prefixes:
        api.store.put_bytes(prefix, b"bytes")
        doomed(api, prefix)
    allowed = api.store.delete

    def refuse(key: str) -> None:
        if key == prefixes[1]:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")
        allowed(key)

    monkeypatch.setattr(api.store, "delete", refuse)
    clean(api)
    assert [len(api.store.list(prefix)) for prefix in prefixes] == [0, 1, 0]


def test_the_janitor_cleans_until_it_is_stopped(api: Api, prefix: str) -> None:
    api.store.put_bytes(prefix, b"bytes")
    thread = Janitor(api.sessions, api.store, 0.05, Retention())
    thread.start()
    doomed(api, prefix)
    wait_for(lambda: not api.store.list(prefix))
    thread.stop()
    thread.join(120)
    assert not any(each.name == "janitor" for each in threading.enumerate())


# Jobs


@pytest.fixture
def lease(api: Api, alice: Tenant) -> Lease:
    """Return the lease of a job with checkpoints at steps 1 to 4, and one that is being written.

    Steps 2 and 4 end an epoch, and step 3 is the best.
    """
    lease = api.claim(alice.create_job()["id"])
    for step in range(1, 5):
        api.checkpoint(lease, step, promised=step % 2 == 0, best=step == 3)
    under_way = checkpoint_prefix(lease.job_id, lease.attempt, 5, "ftckpt-under-way")
    with api.sessions.begin() as session:
        artifacts.open(session, Owner("job", lease.job_id), under_way, alice.project_id, counted=False)
    for place in [*prefixes(api, lease), under_way]:
        api.store.put_bytes(place + "weights", b"weights")
    return lease


def prefixes(api: Api, lease: Lease) -> list[str]:
    """Return the prefixes of the job's checkpoints, ordered by step."""
    mine = select(Checkpoint.object_prefix).where(Checkpoint.job_id == lease.job_id)
    with api.sessions() as session:
        return list(session.scalars(mine.order_by(Checkpoint.step)))


def objects(api: Api, lease: Lease) -> set[str]:
    return set(api.store.list(f"checkpoints/{lease.job_id}/"))


def end(api: Api, alice: Tenant, lease: Lease, how: str, folder: Path) -> None:
    if how == "cancelled":
        alice.openai.fine_tuning.jobs.cancel(lease.job_id)
    else:
        api.finish(lease, folder)


@pytest.mark.parametrize("how", ["succeeded", "cancelled"])
def test_an_ended_job_keeps_the_checkpoints_of_its_epochs_and_its_best(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path, how: str
) -> None:
    clean(api)
    assert len(objects(api, lease)) == 5, "a running job keeps all"
    end(api, alice, lease, how, adapter_folder)
    clean(api)
    assert [place.split("/")[3] for place in prefixes(api, lease)] == ["2", "3", "4"]
    assert len(objects(api, lease)) == 4, "a trainer may be uploading still"
    clean(api, GRACE_OVER)
    assert objects(api, lease) == {place + "weights" for place in prefixes(api, lease)}
    with api.sessions() as session:
        found = [each for each in not_as_in_the_ledger(session, api.store) if lease.job_id in each]
    assert found == []


def test_a_deleted_job_keeps_its_adapter_alone(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path
) -> None:
    end(api, alice, lease, "succeeded", adapter_folder)
    adapter = alice.job(lease.job_id)["adapter_id"]
    assert alice.http.delete(f"/v1/fine_tuning/jobs/{lease.job_id}").status_code == 200
    clean(api, GRACE_OVER)
    assert (objects(api, lease), prefixes(api, lease), leftovers(api)) == (set(), [], [])
    assert alice.http.get(f"/v1/adapters/{adapter}/content").status_code == 200


def test_checkpoints_and_adapters_of_jobs_do_not_count(api: Api, adapter_folder: Path) -> None:
    tenant = api.tenant()
    lease = api.claim(tenant.create_job()["id"])
    before = counted(api, tenant)
    place = checkpoint_prefix(lease.job_id, lease.attempt, 1, "ftckpt-1")
    with api.sessions.begin() as session:
        artifacts.open(session, Owner("job", lease.job_id), place, tenant.project_id, counted=False)
        artifacts.keep(session, place, 1000)
    assert counted(api, tenant) == before


# What Postgres holds


def test_criteria_requests_and_reports_count_until_they_are_deleted(api: Api) -> None:
    tenant = api.tenant()
    eval_id = make_eval(tenant)
    criteria = counted(api, tenant)
    run_id = make_run(tenant, eval_id)
    asked = counted(api, tenant)
    finish_run(api, run_id, [judged(0)])
    assert 0 < criteria < asked < counted(api, tenant)
    assert tenant.http.delete(f"{EVALS}/{eval_id}").status_code == 200
    assert counted(api, tenant) == 0
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        held = select(func.count()).where(Artifact.project_id == tenant.project_id, Artifact.prefix.is_(None))
        assert session.scalars(held).one() == 0


def test_rows_are_deleted_whole_while_another_janitor_deletes_some(api: Api, lease: Lease) -> None:
    of_job = Metric.job_id == lease.job_id
    with api.sessions.begin() as session:
        session.add_all(Metric(job_id=lease.job_id, step=step, data={}) for step in range(1, 6))
    with ThreadPoolExecutor(1) as pool, api.sessions() as other:
        other.execute(delete(Metric).where(of_job, Metric.step <= 2))
        deleting = pool.submit(delete_in_batches, api.sessions, Metric, of_job, batch_rows=2)
        wait_for(lambda: waits_for_a_row(api))
        other.commit()
        deleting.result(120)
    with api.sessions() as session:
        assert session.scalars(select(Metric.step).where(of_job)).all() == []


def waits_for_a_row(api: Api) -> bool:
    with api.sessions() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_a_removal_of_many_rows_goes_on_after_a_failure(api: Api, lease: Lease) -> None:
    of_job = Metric.job_id == lease.job_id
    with api.sessions.begin() as session:
        session.add_all(Metric(job_id=lease.job_id, step=step, data={}) for step in range(1, 8))

    def left() -> int:
        with api.sessions() as session:
            return len(session.scalars(select(Metric.step).where(of_job)).all())

    breaks = broken_once(api, "WITH batch AS \n(SELECT ctid \nFROM metrics", passing=2)
    with breaks, pytest.raises(OperationalError):
        delete_in_batches(api.sessions, Metric, of_job, batch_rows=2)
    assert left() == 7 - 2 * 2
    delete_in_batches(api.sessions, Metric, of_job, batch_rows=2)
    assert left() == 0
