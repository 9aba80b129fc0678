"""/v1/files over real HTTP, with the official client where it can send what a test needs."""

import gzip
import hashlib
import json
import socket
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import anyio
import httpx
import openai
import pytest
from anyio import CapacityLimiter
from openai.types import FileDeleted, FileObject
from sqlalchemy import text

from api.files.intake import clean_filename
from api.files.registration import kept_if_registered
from core.storage.object_store import ObjectStore
from tests.fixtures.faults.database import killed_at_commit
from tests.fixtures.service.api import MAX_FILE_BYTES, Api, Tenant, dataset, refusal, row, strictly, wait_for
from tests.fixtures.service.janitor import clean
from worker.supervisor import janitor
from worker.supervisor.emptying import RETRY

GOOD = json.dumps(row()).encode()
PROMPT = b'{"messages": [{"role": "user", "content": "x"}]}'


def post(tenant: Tenant, content: bytes, purpose: str = "fine-tune") -> httpx.Response:
    return tenant.http.post("/v1/files", data={"purpose": purpose}, files={"file": ("a.jsonl", content)})


def stored(api: Api) -> set[str]:
    return set(api.store.list("files/"))


@pytest.fixture
def nothing_stored(api: Api) -> Iterator[None]:
    """Assert that the test leaves nothing in the object store, and no unfinished upload."""
    clean(api)  # of what earlier tests have given up
    before, halves = stored(api), api.unfinished_uploads()
    yield
    clean(api)
    assert stored(api) == before
    assert api.unfinished_uploads() == halves


def form(*parts: tuple[str, str | None, bytes]) -> dict[str, Any]:
    """Return a multipart body with the parts in this order."""
    body = b""
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += f"--edge\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return {
        "content": body + b"--edge--\r\n",
        "headers": {"content-type": "multipart/form-data; boundary=edge"},
    }


def test_the_official_client_uploads_reads_and_deletes_a_file(api: Api, alice: Tenant) -> None:
    content = dataset(10)

    made = alice.openai.files.create(file=("train.jsonl", content), purpose="fine-tune")

    assert (made.bytes, made.filename, made.purpose) == (len(content), "train.jsonl", "fine-tune")
    assert alice.openai.files.retrieve(made.id) == made
    assert alice.openai.files.content(made.id).read() == content
    shown = alice.http.get(f"/v1/files/{made.id}").json()
    assert strictly(FileObject, shown).status == "processed"

    deleted = alice.http.delete(f"/v1/files/{made.id}")

    assert strictly(FileDeleted, deleted.json()).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        alice.openai.files.retrieve(made.id)
    clean(api)
    assert f"files/{alice.project_id}/{made.id}" not in stored(api)
    refusal(alice.http.delete(f"/v1/files/{made.id}"), 404, "id")


def test_a_deletion_whose_answer_was_lost_may_be_repeated(alice: Tenant) -> None:
    path = f"/v1/files/{alice.upload()}"
    first, repeated, again = (
        alice.http.delete(path, headers={"x-stainless-retry-count": retries}) for retries in "010"
    )
    assert (first.status_code, repeated.status_code, again.status_code) == (200, 200, 404)
    assert repeated.json() == first.json()


def test_a_file_of_many_parts_arrives_whole(alice: Tenant) -> None:
    content = dataset(110_000)
    assert 8 * 1024**2 < len(content) < MAX_FILE_BYTES

    file_id = alice.upload(content)

    answer = alice.http.get(f"/v1/files/{file_id}/content")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


def test_a_batch_file_expires_after_30_days_and_others_never(alice: Tenant) -> None:
    batch = alice.openai.files.create(file=("a", b"x"), purpose="batch")
    other = alice.openai.files.create(file=("a", b"x"), purpose="user_data")
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600
    assert other.expires_at is None


def test_a_part_of_a_file_is_read_alone(alice: Tenant) -> None:
    content = dataset(12)
    path = f"/v1/files/{alice.upload(content)}/content"

    def asked(wanted: str) -> httpx.Response:
        return alice.http.get(path, headers={"range": wanted})

    beginning = asked("bytes=0-99")
    assert (beginning.status_code, beginning.content) == (206, content[:100])
    assert beginning.headers["content-range"] == f"bytes 0-99/{len(content)}"
    assert beginning.headers["content-length"] == "100"
    assert asked("bytes=100-").content == content[100:]
    assert asked(f"bytes=5-{10**17}").content == content[5:]
    for of_another_form in ("bytes=-5", "bytes=0-1,4-5", "rows=0-1", "bytes=9-5"):
        whole = asked(of_another_form)
        assert (whole.status_code, whole.content) == (200, content), of_another_form
    refused = asked(f"bytes={len(content)}-")
    refusal(refused, 416, "range", "range_not_satisfiable")
    assert refused.headers["content-range"] == f"bytes */{len(content)}"


def test_a_checked_file_tells_its_hash_and_how_many_rows_of_which_kind(alice: Tenant) -> None:
    chat, other = (
        alice.http.get(f"/v1/files/{id_}").json()
        for id_ in (alice.upload(dataset(12)), alice.upload(b"anything", "user_data"))
    )
    assert (chat["rows"], chat["kind"]) == (12, "chat")
    prompts = post(alice, PROMPT + b"\n" + PROMPT).json()
    assert (prompts["rows"], prompts["kind"]) == (2, "prompt")
    assert chat["sha256"] == hashlib.sha256(dataset(12)).hexdigest()
    assert (other["rows"], other["kind"]) == (None, None)


@pytest.mark.parametrize("name", ["données.jsonl", "a b.jsonl", "数据.jsonl"])
def test_a_filename_survives(alice: Tenant, name: str) -> None:
    made = alice.openai.files.create(file=(name, dataset(1)), purpose="fine-tune")
    assert made.filename == name
    disposition = alice.http.get(f"/v1/files/{made.id}/content").headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\train.jsonl", "train.jsonl"),
        ("a\x00b\r\n.jsonl", "ab.jsonl"),
        ("\udc80.jsonl", ".jsonl"),
        ("", "upload"),
        ("dir/", "upload"),
        ("x" * 999, "x" * 255),
    ],
)
def test_a_filename_is_made_harmless(sent: str, kept: str) -> None:
    assert clean_filename(sent) == kept


@pytest.mark.parametrize(
    ("content", "line", "field"),
    [
        pytest.param(b"this is not JSON\n", 1, "", id="not JSON"),
        pytest.param(GOOD + b"\n" + b'["a list"]\n', 2, "", id="not an object"),
        pytest.param(GOOD + b"\n" + b'{"prompt": "hi"}\n', 2, "messages", id="no messages"),
        pytest.param(
            b'{"messages": [{"role": "robot", "content": "x"}, {"role": "assistant", "content": "y"}]}',
            1,
            "messages[0].role",
            id="unknown role",
        ),
        pytest.param(GOOD + b"\n" + PROMPT, 2, "messages", id="no assistant"),
        pytest.param(PROMPT + b"\n" + GOOD, 2, "messages[1].role", id="an answer"),
        pytest.param(GOOD + b"\n" + "{'é'}".encode("latin-1"), 2, "", id="wrong encoding"),
        pytest.param(dataset(3).decode().encode("utf-16"), 1, "", id="UTF-16"),
        pytest.param(GOOD + b"\n" + b'{"messages": "' + b"x" * 5_000_000 + b'"}', 2, "", id="a line of 5 MB"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_wrong_row_is_named_by_line_and_field(alice: Tenant, content: bytes, line: int, field: str) -> None:
    error = refusal(post(alice, content), 400, "file", "invalid_file_format")

    assert (error["details"][0]["line"], error["details"][0]["field"]) == (line, field)
    assert f"line {line}" in error["message"].lower()
    assert field in error["message"]
    assert set(error["details"][0]) == {"line", "field", "code", "message"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(dataset(3)), "compressed with gzip"),
        (b"PK\x03\x04\x14\0\0\0", "a zip archive; unpack it"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a JPEG picture"),
        (b"GIF89a\x01\0\x01\0", "a GIF picture"),
        (b"%PDF-1.7\n\0\0", "a PDF"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_file_that_is_no_text_is_called_what_it_is(alice: Tenant, content: bytes, words: str) -> None:
    error = refusal(post(alice, content), 400, "file", "invalid_file_format")
    assert words in error["message"]
    assert "UTF-16" not in error["message"]


@pytest.mark.usefixtures("nothing_stored")
def test_ten_thousand_wrong_rows_make_a_short_answer(alice: Tenant) -> None:
    answer = post(alice, b"no JSON\n" * 10_000)
    error = refusal(answer, 400, "file", "invalid_file_format")
    assert len(error["details"]) == 100
    assert "9,997 more rows have errors" in error["message"]
    assert len(answer.content) < 30_000


@pytest.mark.parametrize("purpose", ["fine-tune", "batch"])
@pytest.mark.usefixtures("nothing_stored")
def test_an_empty_file_is_refused(alice: Tenant, purpose: str) -> None:
    error = refusal(post(alice, b"", purpose), 400, "file", "empty_file")
    assert "empty" in error["message"]
    (finding,) = error["details"]
    assert (finding["line"], finding["field"], finding["code"]) == (1, "", "empty_file")


def test_only_fine_tune_files_are_checked(alice: Tenant) -> None:
    for purpose in ("batch", "assistants", "vision", "user_data", "evals"):
        answer = post(alice, b"\x00\xff no JSON", purpose)
        assert answer.status_code == 200, answer.text
        if purpose != "evals":  # the official type of the answer lacks this purpose
            strictly(FileObject, answer.json())


@pytest.mark.parametrize("purpose", ["", "fine-tune-results", "no such purpose", "x" * 10_000, "\xff"])
@pytest.mark.usefixtures("nothing_stored")
def test_an_unknown_purpose_is_refused_with_what_is_on_offer(alice: Tenant, purpose: str) -> None:
    error = refusal(post(alice, GOOD, purpose), 400, "purpose", "invalid_value")
    assert "fine-tune, batch" in error["message"]


def test_a_file_can_be_kept_for_a_while_only(alice: Tenant) -> None:
    made = alice.openai.files.create(
        file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert made.expires_at == made.created_at + 7200
    assert alice.openai.files.retrieve(made.id) == made


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expires_after[seconds]": "7200"}, "expires_after[anchor]"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "deleted_at", "expires_after[seconds]": "7200"}, "expires_after[anchor]"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_wrong_expiry_is_refused(alice: Tenant, fields: dict[str, str], param: str) -> None:
    answer = alice.http.post("/v1/files", data={"purpose": "batch", **fields}, files={"file": GOOD})
    refusal(answer, 400, param)


def test_fields_come_in_any_order_and_unknown_ones_are_ignored(alice: Tenant) -> None:
    answer = alice.http.post(
        "/v1/files",
        **form(
            ("expires_after[anchor]", None, b"created_at"),
            ("file", "a.jsonl", GOOD),
            ("expires_after[seconds]", None, b"3600"),
            ("purpose", None, b"fine-tune"),
            ("unheard_of", None, b"x"),
        ),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == len(GOOD)


@pytest.mark.usefixtures("nothing_stored")
def test_rows_are_checked_where_the_purpose_follows_the_file(alice: Tenant) -> None:
    answer = alice.http.post(
        "/v1/files", **form(("file", "a.jsonl", b"no JSON"), ("purpose", None, b"fine-tune"))
    )
    refusal(answer, 400, "file", "invalid_file_format")


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        pytest.param(
            form(("purpose", None, b"fine-tune")), "file", "missing_required_parameter", id="no file"
        ),
        pytest.param(form(("file", "a", GOOD)), "purpose", "missing_required_parameter", id="no purpose"),
        pytest.param(form(), "purpose", "missing_required_parameter", id="nothing"),
        pytest.param(
            form(("purpose", None, b"fine-tune"), ("file", None, GOOD)), "file", "invalid_value", id="text"
        ),
        pytest.param(
            form(("purpose", None, b"batch"), ("file", "a", GOOD), ("file", "b", GOOD)),
            "file",
            "invalid_value",
            id="two files",
        ),
        pytest.param({"json": {"purpose": "fine-tune"}}, None, "invalid_multipart", id="JSON"),
        pytest.param({"content": b""}, None, "invalid_multipart", id="no body"),
        pytest.param(
            {"content": b"x" * 100, "headers": {"content-type": "multipart/form-data; boundary=edge"}},
            None,
            "invalid_multipart",
            id="no form",
        ),
        pytest.param(
            {
                "content": form(("purpose", None, b"batch"), ("file", "a", GOOD))["content"][:-20],
                "headers": {"content-type": "multipart/form-data; boundary=edge"},
            },
            None,
            "invalid_multipart",
            id="cut short",
        ),
        pytest.param(
            {
                "content": b'--edge\r\nContent-Disposition: form-data; name="file"; filename="\xe9"\r\n\r\nx',
                "headers": {"content-type": "multipart/form-data; boundary=edge"},
            },
            None,
            "invalid_multipart",
            id="header in Latin-1",
        ),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_wrong_form_is_refused_with_what_is_wrong(
    alice: Tenant, request_: dict[str, Any], param: str | None, code: str
) -> None:
    refusal(alice.http.post("/v1/files", **request_), 400, param, code)


@pytest.mark.usefixtures("nothing_stored")
def test_a_file_over_the_limit_is_refused_while_it_streams(alice: Tenant) -> None:
    """The request does not announce its length. At the limit, the first part is already in the store."""
    head = form(("purpose", None, b"batch"))["content"].removesuffix(b"--edge--\r\n")
    head += b'--edge\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    megabytes = repeat(b"x" * 1024**2, 2 * MAX_FILE_BYTES // 1024**2)

    answer = alice.http.post(
        "/v1/files",
        content=chain([head], megabytes),
        headers={"content-type": "multipart/form-data; boundary=edge"},
    )

    error = refusal(answer, 413, "file", "file_too_large")
    assert str(MAX_FILE_BYTES) in error["message"]


@pytest.mark.usefixtures("nothing_stored")
def test_the_official_client_reads_the_refusal_of_a_large_file(alice: Tenant) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        alice.openai.files.create(file=("big", b"x" * 2 * MAX_FILE_BYTES), purpose="batch")
    assert refused.value.status_code == 413


@pytest.mark.usefixtures("nothing_stored")
def test_an_announced_length_over_the_limit_is_refused_before_any_byte(api: Api, alice: Tenant) -> None:
    """A client that sends `Expect: 100-continue`, as curl does, does not even begin to send the body."""
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0), timeout=10) as line:
        line.sendall(
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
            "Content-Type: multipart/form-data; boundary=edge\r\nExpect: 100-continue\r\n"
            f"Content-Length: {10**10}\r\n\r\n".encode()
        )
        assert line.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.usefixtures("nothing_stored")
def test_a_form_cannot_grow_beside_its_file(alice: Tenant) -> None:
    body = form(("purpose", None, b"batch"), ("filler", None, b"x" * 3 * 1024**2), ("file", "a", GOOD))
    error = refusal(alice.http.post("/v1/files", **body), 413, None, "form_too_large")
    assert "beside the field 'file'. Send 'file' and 'purpose', and nothing else" in error["message"]


@pytest.mark.usefixtures("nothing_stored")
def test_a_client_that_leaves_leaves_nothing(api: Api, alice: Tenant) -> None:
    before = len(api.unfinished_uploads())
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0)) as line:
        line.sendall(
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
            "Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 11000000\r\n\r\n".encode()
        )
        line.sendall(form(("purpose", None, b"batch"))["content"].removesuffix(b"--edge--\r\n"))
        line.sendall(b'--edge\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n')
        line.sendall(b"x" * 9 * 1024**2)
        wait_for(lambda: len(api.unfinished_uploads()) > before)  # the first part is in the store
    wait_for(lambda: len(api.unfinished_uploads()) == before)


@pytest.fixture
def refusing_database(api: Api) -> Iterator[None]:
    """Let the database refuse a file with the name refused.jsonl."""
    with api.sessions.begin() as session:
        session.execute(text("ALTER TABLE files ADD CONSTRAINT refuse CHECK (filename <> 'refused.jsonl')"))
    yield
    with api.sessions.begin() as session:
        session.execute(text("ALTER TABLE files DROP CONSTRAINT refuse"))


@pytest.mark.usefixtures("nothing_stored", "refusing_database")
def test_an_upload_that_cannot_be_registered_leaves_nothing(alice: Tenant) -> None:
    answer = alice.http.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("refused.jsonl", dataset(10))}
    )
    refusal(answer, 500, code="internal_error")


def test_an_upload_whose_registration_was_answered_with_silence_keeps_its_bytes(
    api: Api, alice: Tenant
) -> None:
    file_id = alice.upload()
    key = f"files/{alice.project_id}/{file_id}"

    async def lose_the_answer() -> None:
        async with kept_if_registered(api.sessions, key, file_id, CapacityLimiter(1)):
            pass  # as if nothing were known of the commit

    anyio.run(lose_the_answer)
    clean(api)
    assert key in stored(api)


def test_paging_reaches_every_file_once(api: Api) -> None:
    tenant = api.tenant()
    made = [tenant.upload(purpose="batch") for _ in range(5)]

    assert [file.id for file in tenant.openai.files.list(limit=2)] == made[::-1]
    assert [file.id for file in tenant.openai.files.list(limit=2, order="asc")] == made
    first = tenant.http.get("/v1/files", params={"limit": 2}).json()
    assert first["object"] == "list"
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[4], made[3], True)
    last = tenant.http.get("/v1/files", params={"limit": 2, "after": made[1]}).json()
    assert ([file["id"] for file in last["data"]], last["has_more"]) == ([made[0]], False)


def test_files_are_listed_by_purpose(api: Api) -> None:
    tenant = api.tenant()
    batch, training = tenant.upload(purpose="batch"), tenant.upload()
    assert [file.id for file in tenant.openai.files.list(purpose="batch")] == [batch]
    assert [file.id for file in tenant.openai.files.list(purpose="fine-tune")] == [training]
    assert tenant.http.get("/v1/files?purpose=unheard-of").json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ("limit=-1", "limit", "from 0 to 10000"),
        ("limit=10001", "limit", "from 0 to 10000"),
        ("limit=many", "limit", "from 0 to 10000"),
        ("order=sideways", "order", '"asc" and "desc"'),
        ("after=file-unheard-of", "after", "Send the 'last_id' of the page before"),
        ("after=" + "x" * 500, "after", "at most 128 characters"),
    ],
)
def test_a_wrong_listing_is_refused_with_what_is_allowed(
    alice: Tenant, query: str, param: str, says: str
) -> None:
    assert says in refusal(alice.http.get(f"/v1/files?{query}"), 400, param)["message"]


def test_a_file_of_a_job_that_has_not_ended_cannot_be_deleted(api: Api, alice: Tenant) -> None:
    training, validation, judged = alice.upload(), alice.upload(), alice.upload()
    evaluate = {"file": judged}
    job = alice.create_job(training_file=training, validation_file=validation, evaluate=evaluate)

    for file_id in (training, validation, judged):
        answer = alice.http.delete(f"/v1/files/{file_id}")
        assert job["id"] in refusal(answer, 409, "id", "file_in_use")["message"]
        assert answer.headers["x-should-retry"] == "false"
    api.claim(job["id"])
    refusal(alice.http.delete(f"/v1/files/{training}"), 409, "id", "file_in_use")
    alice.openai.fine_tuning.jobs.pause(job["id"])
    assert alice.job(job["id"])["status"] == "paused"
    refusal(alice.http.delete(f"/v1/files/{training}"), 409, "id", "file_in_use")

    alice.openai.fine_tuning.jobs.cancel(job["id"])

    for file_id in (training, validation, judged):
        assert alice.openai.files.delete(file_id).deleted
    assert alice.job(job["id"])["training_file"] == training


def test_a_file_whose_deletion_is_not_committed_keeps_its_bytes(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    with killed_at_commit(api.app.state.engine) as killed:
        refusal(alice.http.delete(f"/v1/files/{file_id}"), 503)
    assert killed
    clean(api)
    assert alice.http.get(f"/v1/files/{file_id}/content").content == dataset(12)


def test_bytes_that_the_store_does_not_delete_are_removed_later(
    api: Api, alice: Tenant, closed_port: int
) -> None:
    file_id = alice.upload()
    assert alice.openai.files.delete(file_id).deleted
    janitor.clean(api.sessions, ObjectStore(f"http://127.0.0.1:{closed_port}", "nowhere", retries=0))
    assert f"files/{alice.project_id}/{file_id}" in stored(api)
    clean(api, RETRY)
    assert f"files/{alice.project_id}/{file_id}" not in stored(api)


def test_lost_bytes_are_told_from_a_bug(api: Api, alice: Tenant) -> None:
    file_id = alice.upload()
    api.store.delete(f"files/{alice.project_id}/{file_id}")
    refusal(alice.http.get(f"/v1/files/{file_id}/content"), 404, None, "content_missing")
