"""/v1/uploads over real HTTP: files in parts, and every way in which an upload can end."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Upload
from openai.types.uploads import UploadPart
from sqlalchemy import func, insert, select, update

from api.files.intake import ReceivedFile
from api.uploads.assembly import Assembly
from api.uploads.part import MAX_PART_BYTES
from api.uploads.schemas import MAX_PARTS
from core.artifacts import stored_bytes
from core.errors import QuotaExceeded
from core.ids import new_id
from core.storage.object_store import file_key, upload_prefix
from core.tables import Artifact, AuditLog
from core.tables import Upload as UploadRow
from core.tables import UploadPart as PartRow
from tests.fixtures.service.api import Api, Tenant, dataset, refusal, strictly
from tests.fixtures.service.janitor import GRACE_OVER, clean

CONTENT = dataset(40)


def announce(tenant: Tenant, size: int, **body: Any) -> str:
    body = {"bytes": size, "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "batch", **body}
    answer = tenant.http.post("/v1/uploads", json=body)
    assert answer.status_code == 200, answer.text
    assert strictly(Upload, answer.json()).status == "pending"
    return str(answer.json()["id"])


def send(tenant: Tenant, upload_id: str, data: bytes) -> httpx.Response:
    return tenant.http.post(f"/v1/uploads/{upload_id}/parts", files={"data": data})


def part(tenant: Tenant, upload_id: str, data: bytes) -> str:
    answer = send(tenant, upload_id, data)
    assert answer.status_code == 200, answer.text
    return strictly(UploadPart, answer.json()).id


def complete(tenant: Tenant, upload_id: str, part_ids: list[str], **body: Any) -> httpx.Response:
    return tenant.http.post(f"/v1/uploads/{upload_id}/complete", json={"part_ids": part_ids, **body})


def cancel(tenant: Tenant, upload_id: str) -> httpx.Response:
    return tenant.http.post(f"/v1/uploads/{upload_id}/cancel")


def objects(api: Api, upload_id: str) -> set[str]:
    return {key.rpartition("/")[2] for key in api.store.list(upload_prefix(upload_id))}


def age(api: Api, upload_id: str, **columns: Any) -> None:
    """Move the times of an upload back, as if time had passed."""
    with api.sessions.begin() as session:
        session.execute(update(UploadRow).where(UploadRow.id == upload_id).values(**columns))


@pytest.fixture
def half(alice: Tenant) -> tuple[str, list[str]]:
    """Make a pending upload with both halves of CONTENT. The second half is sent first."""
    upload_id = announce(alice, len(CONTENT))
    middle = len(CONTENT) // 2
    second = part(alice, upload_id, CONTENT[middle:])
    return upload_id, [part(alice, upload_id, CONTENT[:middle]), second]


def test_the_official_client_uploads_a_file_in_chunks(alice: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)

    done = alice.openai.uploads.upload_file_chunked(
        file=path,
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=1000,
        md5=hashlib.md5(CONTENT).hexdigest(),  # noqa: S324
    )

    assert (done.status, done.bytes, done.filename) == ("completed", len(CONTENT), "train.jsonl")
    assert done.file is not None
    assert alice.openai.files.content(done.file.id).read() == CONTENT
    assert alice.openai.files.retrieve(done.file.id) == done.file
    assert alice.create_job(training_file=done.file.id)["status"] == "queued"


def test_parts_come_at_once_and_are_joined_in_the_order_that_is_asked_for(alice: Tenant) -> None:
    pieces = [bytes([number]) * (500_000 + number) for number in range(12)]
    upload_id = announce(alice, sum(map(len, pieces)), filename="dir/big.bin")

    with ThreadPoolExecutor(6) as pool:
        part_ids = list(pool.map(lambda piece: part(alice, upload_id, piece), reversed(pieces)))[::-1]
    answer = complete(alice, upload_id, part_ids)

    done = strictly(Upload, answer.json())
    assert done.file is not None
    assert done.file.filename == "big.bin"
    assert alice.openai.files.content(done.file.id).read() == b"".join(pieces)


def test_wrong_rows_are_refused_and_another_order_may_follow(alice: Tenant) -> None:
    upload_id = announce(alice, len(CONTENT), purpose="fine-tune")
    first, second = part(alice, upload_id, CONTENT[:50]), part(alice, upload_id, CONTENT[50:])

    error = refusal(complete(alice, upload_id, [second, first]), 400, "file", "invalid_file_format")

    assert error["details"][0]["line"] == 1
    assert complete(alice, upload_id, [first, second]).json()["status"] == "completed"


def test_what_was_announced_must_come(alice: Tenant, half: tuple[str, list[str]]) -> None:
    upload_id, part_ids = half
    refusal(complete(alice, upload_id, part_ids[:1]), 400, "part_ids", "bytes_mismatch")
    refusal(complete(alice, upload_id, [*part_ids, part_ids[0]]), 400, "part_ids", "invalid_value")
    refusal(complete(alice, upload_id, ["part_x"]), 400, "part_ids", "invalid_value")
    error = refusal(complete(alice, upload_id, part_ids, md5="0" * 32), 400, "md5", "checksum_mismatch")
    assert hashlib.md5(CONTENT).hexdigest() in error["message"]  # noqa: S324
    assert complete(alice, upload_id, part_ids).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 8 * 1024**3 + 1}, "bytes"),
        ({"purpose": "fine-tune-results"}, "purpose"),
        ({"filename": ""}, "filename"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
    ],
)
def test_a_wrong_announcement_is_refused(alice: Tenant, body: dict[str, Any], param: str) -> None:
    body = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch", **body}
    refusal(alice.http.post("/v1/uploads", json=body), 400, param)


@pytest.mark.exhaustive
def test_a_part_of_64_mib_is_taken_and_a_larger_one_leaves_nothing(api: Api, alice: Tenant) -> None:
    upload_id = announce(alice, MAX_PART_BYTES)
    assert send(alice, upload_id, bytes(MAX_PART_BYTES)).status_code == 200
    before = objects(api, upload_id)
    refusal(send(alice, upload_id, bytes(MAX_PART_BYTES + 1)), 413, "data", "part_too_large")
    refusal(send(alice, upload_id, b""), 400, "data")
    refusal(alice.http.post(f"/v1/uploads/{upload_id}/parts", files={"file": b"x"}), 400, "data")
    assert objects(api, upload_id) == before


def test_an_upload_ends_once(api: Api, alice: Tenant, half: tuple[str, list[str]]) -> None:
    upload_id, part_ids = half
    file_id = complete(alice, upload_id, part_ids).json()["file"]["id"]

    for answer in (
        complete(alice, upload_id, part_ids),
        cancel(alice, upload_id),
        send(alice, upload_id, b"x"),
    ):
        assert file_id in refusal(answer, 400, "upload_id", "upload_completed")["message"]
    with pytest.raises(openai.BadRequestError):
        alice.openai.uploads.cancel(upload_id)
    assert objects(api, upload_id) == set(part_ids)


def test_a_cancelled_upload_takes_nothing(api: Api, alice: Tenant, half: tuple[str, list[str]]) -> None:
    upload_id, part_ids = half
    assert strictly(Upload, cancel(alice, upload_id).json()).status == "cancelled"
    assert logged(api, upload_id) == ["upload.created", "upload.cancelled"]
    for answer in (
        complete(alice, upload_id, part_ids),
        cancel(alice, upload_id),
        send(alice, upload_id, b"x"),
    ):
        refusal(answer, 400, "upload_id", "upload_cancelled")


def test_a_retry_whose_first_answer_was_lost_gets_it(alice: Tenant, half: tuple[str, list[str]]) -> None:
    upload_id, part_ids = half
    first = complete(alice, upload_id, part_ids)
    again = alice.http.post(
        f"/v1/uploads/{upload_id}/complete",
        json={"part_ids": part_ids},
        headers={"x-stainless-retry-count": "1"},
    )
    assert again.json() == first.json()


def test_a_completion_that_is_overtaken_leaves_no_file(
    api: Api, alice: Tenant, half: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client cancels or completes the upload while the parts are being joined."""
    upload_id, part_ids = half
    finish = Assembly.finish

    def cancelled_meanwhile(assembly: Assembly) -> ReceivedFile:
        assert cancel(alice, upload_id).status_code == 200
        return finish(assembly)

    monkeypatch.setattr(Assembly, "finish", cancelled_meanwhile)
    before = set(api.store.list("files/"))
    refusal(complete(alice, upload_id, part_ids), 400, "upload_id", "upload_cancelled")
    clean(api)
    assert set(api.store.list("files/")) == before
    assert objects(api, upload_id) == set(part_ids)


def test_of_completions_at_once_one_wins(api: Api, alice: Tenant, half: tuple[str, list[str]]) -> None:
    upload_id, part_ids = half
    before = set(api.store.list(f"files/{alice.project_id}/"))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(alice, upload_id, part_ids), range(4)))
    (won,) = [answer for answer in answers if answer.status_code == 200]
    file_id = won.json()["file"]["id"]
    for answer in answers:
        if answer is not won:
            assert file_id in refusal(answer, 400, "upload_id", "upload_completed")["message"]
    clean(api)
    made = {key.rpartition("/")[2] for key in set(api.store.list(f"files/{alice.project_id}/")) - before}
    assert made == {file_id}
    assert alice.openai.files.content(file_id).read() == CONTENT


def test_the_janitor_keeps_of_a_completed_upload_its_file(
    api: Api, alice: Tenant, half: tuple[str, list[str]]
) -> None:
    upload_id, part_ids = half
    file_id = complete(alice, upload_id, part_ids).json()["file"]["id"]

    clean(api)
    # The parts stay for a while: a request may still use them just after the end.
    assert objects(api, upload_id) == set(part_ids)

    clean(api, GRACE_OVER)
    assert objects(api, upload_id) == set()
    assert alice.openai.files.content(file_id).read() == CONTENT
    with api.sessions() as session:
        assert session.scalars(select(PartRow).where(PartRow.upload_id == upload_id)).all() == []


def test_an_upload_expires_and_is_swept_with_what_a_dead_process_left(
    api: Api, alice: Tenant, half: tuple[str, list[str]]
) -> None:
    upload_id, part_ids = half
    pending = announce(alice, 1)
    kept = part(alice, pending, b"x")
    writer = api.store.writer(upload_prefix(upload_id) + "part_of-a-dead-process")
    writer.write(bytes(9 * 1024**2))
    api.store.put_bytes(upload_prefix(upload_id) + "part_of-another-one", b"x")

    age(api, upload_id, expires_at=func.now())
    for answer in (
        send(alice, upload_id, b"x"),
        complete(alice, upload_id, part_ids),
        cancel(alice, upload_id),
    ):
        refusal(answer, 400, "upload_id", "upload_expired")
    age(api, upload_id, expires_at=func.now() - timedelta(hours=1))
    with api.sessions.begin() as session:
        overdue = update(Artifact).where(Artifact.owner_id == upload_id)
        session.execute(overdue.values(expires_at=func.now() - timedelta(minutes=50)))
    clean(api)

    assert objects(api, upload_id) == set()
    assert api.unfinished_uploads(upload_prefix(upload_id)) == []
    with api.sessions() as session:
        assert session.get_one(UploadRow, upload_id).status == "expired"
    refusal(cancel(alice, upload_id), 400, "upload_id", "upload_expired")
    assert objects(api, pending) == {kept}


def test_a_file_expires_but_not_under_a_job(api: Api, alice: Tenant) -> None:
    upload_id = announce(
        alice, len(CONTENT), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    made = complete(alice, upload_id, [part(alice, upload_id, CONTENT)]).json()["file"]
    assert made["expires_at"] == made["created_at"] + 3600
    job_id = alice.create_job(training_file=made["id"])["id"]
    key = file_key(alice.project_id, made["id"])

    with api.sessions.begin() as session:
        expire = "UPDATE files SET expires_at = now() - interval '1 hour' WHERE id = :id"
        session.connection().exec_driver_sql(expire.replace(":id", f"'{made['id']}'"))
    refusal(alice.http.get(f"/v1/files/{made['id']}"), 404, "id")
    assert made["id"] not in [file.id for file in alice.openai.files.list()]
    clean(api)
    assert key in api.store.list(key)

    alice.openai.fine_tuning.jobs.cancel(job_id)
    clean(api)
    assert api.store.list(key) == []
    assert logged(api, made["id"]) == ["file.created", "file.expired"]


def test_what_pending_uploads_announce_counts_for_the_projects_quota(api: Api) -> None:
    """They count until they are cancelled or removed. A completed one counts as its file."""
    tenant = api.tenant()
    tenant.allow(stored_bytes=2 * len(CONTENT))
    upload_id, cancelled = announce(tenant, len(CONTENT)), announce(tenant, 1)
    overdue = announce(tenant, 1)
    body = {"bytes": len(CONTENT), "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    refusal(tenant.http.post("/v1/uploads", json=body), QuotaExceeded.status, "file", "insufficient_quota")

    assert cancel(tenant, cancelled).status_code == 200
    with api.sessions.begin() as session:
        session.execute(update(Artifact).where(Artifact.owner_id == overdue).values(expires_at=func.now()))
    clean(api)
    assert complete(tenant, upload_id, [part(tenant, upload_id, CONTENT)]).status_code == 200
    assert announce(tenant, len(CONTENT))


def test_an_upload_that_does_not_fit_in_the_end_stays_pending(api: Api) -> None:
    tenant = api.tenant()
    upload_id = announce(tenant, len(CONTENT))
    part_id = part(tenant, upload_id, CONTENT)
    tenant.allow(stored_bytes=len(CONTENT) - 1)
    answer = complete(tenant, upload_id, [part_id])
    refusal(answer, QuotaExceeded.status, "file", "insufficient_quota")
    assert objects(api, upload_id) == {part_id}
    tenant.allow(stored_bytes=len(CONTENT))
    assert complete(tenant, upload_id, [part_id]).json()["status"] == "completed"


def test_parts_that_were_sent_twice_keep_no_upload_from_its_completion(api: Api, alice: Tenant) -> None:
    """This holds for an upload of the largest size, and for one with the most parts."""
    content = b"x" * MAX_PARTS
    largest, most = announce(alice, 8 * 1024**3), announce(alice, MAX_PARTS)
    has_parts(api, largest, [MAX_PART_BYTES] * 128)
    has_parts(api, most, [1] * MAX_PARTS)
    assert send(alice, largest, b"x").status_code == 200
    assert complete(alice, most, [part(alice, most, content)]).status_code == 200


def test_an_upload_takes_no_more_than_each_part_twice_and_one(api: Api, alice: Tenant) -> None:
    large, many = announce(alice, 100), announce(alice, MAX_PARTS)
    has_parts(api, large, [100, 100, 99])
    has_parts(api, many, [1] * (2 * MAX_PARTS - 1))
    for upload_id in (large, many):
        kept = part(alice, upload_id, b"x")
        refusal(send(alice, upload_id, b"x"), 400, "data", "too_many_parts")
        assert objects(api, upload_id) == {kept}


def test_a_part_larger_than_the_announced_file_is_refused_while_it_streams(api: Api, alice: Tenant) -> None:
    """The client never ends: the server does not wait for the whole part."""
    upload_id = announce(alice, 1)
    head = b'--b\r\nContent-Disposition: form-data; name="data"; filename="data"\r\n\r\n'
    answer = alice.http.post(
        f"/v1/uploads/{upload_id}/parts",
        content=chain([head], repeat(b"x" * 1024**2, 3 * MAX_PART_BYTES // 1024**2)),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    error = refusal(answer, 413, "data", "part_too_large")
    assert "announced with 1 bytes" in error["message"]
    assert objects(api, upload_id) == set()
    assert complete(alice, upload_id, [part(alice, upload_id, b"x")]).status_code == 200


def test_what_lies_in_parts_counts_until_it_is_removed(api: Api) -> None:
    """It counts for a cancelled upload too, and for parts that were sent again. A file counts once."""
    tenant = api.tenant()
    first, second = announce(tenant, 100), announce(tenant, 100)
    for _ in range(3):
        part(tenant, first, b"x" * 100)
    assert stored(api, tenant) == 400
    cancel(tenant, first)
    assert stored(api, tenant) == 400
    complete(tenant, second, [part(tenant, second, b"x" * 100)])
    assert stored(api, tenant) == 400

    clean(api, GRACE_OVER)
    assert stored(api, tenant) == 100


def test_a_part_that_is_sent_again_needs_room_in_the_projects_quota(api: Api) -> None:
    tenant = api.tenant()
    upload_id = announce(tenant, 100)
    kept = part(tenant, upload_id, b"x" * 100)
    tenant.allow(stored_bytes=150)
    refusal(send(tenant, upload_id, b"x" * 100), QuotaExceeded.status, "file", "insufficient_quota")
    assert objects(api, upload_id) == {kept}
    assert send(tenant, upload_id, b"x" * 50).status_code == 200


def test_a_project_has_so_many_open_uploads(api: Api) -> None:
    tenant = api.tenant()
    body = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    with api.beside(project_open_uploads=2) as strict:

        def create() -> httpx.Response:
            return tenant.http.post(f"{strict.url}/v1/uploads", json=body)

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: create(), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [QuotaExceeded.status] * 4
        error = refusal(create(), QuotaExceeded.status, None, "insufficient_quota")
        assert "Complete or cancel" in error["message"]
        first, second = (answer.json()["id"] for answer in answers if answer.is_success)
        cancel(tenant, first)
        assert create().is_success
        age(api, second, expires_at=func.now())
        assert create().is_success


def stored(api: Api, tenant: Tenant) -> int:
    with api.sessions() as session:
        return stored_bytes(session, tenant.project_id)


def logged(api: Api, resource_id: str) -> list[str]:
    """Return what the audit log has of the resource, in order."""
    with api.sessions() as session:
        entries = select(AuditLog.action).where(AuditLog.resource_id == resource_id).order_by(AuditLog.id)
        return list(session.scalars(entries))


def has_parts(api: Api, upload_id: str, sizes: list[int]) -> None:
    """Add parts to the upload in the database only."""
    with api.sessions.begin() as session:
        rows = [{"id": new_id("part_"), "upload_id": upload_id, "bytes": size} for size in sizes]
        session.execute(insert(PartRow), rows)
