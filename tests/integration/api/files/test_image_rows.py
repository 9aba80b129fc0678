"""Files with images: what is taken, what is refused by line and field, and what a hostile image can cost."""

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from api.files import image_processes as processes
from tests.fixtures.processes.processes import named
from tests.fixtures.rows.images import about, data_url, encoded, image_part, picture
from tests.fixtures.service.api import Api, Tenant, dataset, refusal, wait_for
from tests.fixtures.work.evals_api import CHECK

BAD = image_part(data_url(encoded(picture())[:-100]))


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def post(api: Api, tenant: Tenant, content: bytes) -> httpx.Response:
    return tenant.http.post(
        f"{api.url}/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", content)}
    )


@pytest.fixture
def other(api: Api) -> Iterator[Api]:
    """Yield an API that has decoded no image yet."""
    with api.beside() as other:
        yield other


@pytest.fixture
def image_processes(other: Api) -> Callable[[], list[psutil.Process]]:
    """Return a function that returns the processes which the other API has started since."""
    before = _children()
    return lambda: [each for each in _children() if each not in before]


def _children() -> list[psutil.Process]:
    return named("anyio.to_process", psutil.Process().children())


def test_a_file_with_images_is_taken_and_given_back_as_it_was(api: Api, alice: Tenant) -> None:
    content = lines(*(about(image_part(), answer=f"A gradient, {number}.") for number in range(10)))
    answer = post(api, alice, content).json()
    assert (answer["rows"], answer["kind"]) == (10, "chat")
    assert alice.http.get(f"/v1/files/{answer['id']}/content").content == content


def test_a_bad_image_is_named_by_its_line_and_field(api: Api, alice: Tenant) -> None:
    content = lines(about(image_part()), about(image_part(), BAD), about(image_part()))
    error = refusal(post(api, alice, content), 400, "file", "invalid_file_format")
    field = "messages[0].content[1].image_url.url"
    assert error["message"] == (
        f"Line 2, {field}: cannot be decoded: it is cut off or damaged; save it again."
    )
    (finding,) = error["details"]
    assert (finding["line"], finding["field"], finding["code"]) == (2, field, "damaged_image")


def test_an_upload_in_parts_is_checked_in_the_same_way(api: Api, alice: Tenant) -> None:
    content = lines(*[about(BAD)] * 10)
    upload = alice.openai.uploads.create(
        bytes=len(content), filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )
    part = alice.openai.uploads.parts.create(upload.id, data=content)
    answer = alice.http.post(f"/v1/uploads/{upload.id}/complete", json={"part_ids": [part.id]})
    assert refusal(answer, 400, "file", "invalid_file_format")["details"][0]["code"] == "damaged_image"


def test_an_image_that_ends_its_process_costs_one_upload(
    other: Api, alice: Tenant, image_processes: Callable[[], list[psutil.Process]]
) -> None:
    assert post(other, alice, lines(*[about(image_part())] * 10)).is_success
    (process,) = image_processes()
    process.suspend()
    with ThreadPoolExecutor() as threads:
        answer: Future[httpx.Response] = threads.submit(post, other, alice, lines(about(image_part())))
        wait_for(lambda: other.app.state.image_processes.apart.running)
        assert alice.http.get(f"{other.url}/v1/files").is_success
        process.kill()
        error = refusal(answer.result(), 400, "file", "invalid_file_format")
    assert error["details"][0]["code"] == "image_too_costly"
    assert post(other, alice, lines(*[about(image_part())] * 10)).is_success


def test_an_image_that_takes_too_long_is_stopped(
    other: Api,
    alice: Tenant,
    image_processes: Callable[[], list[psutil.Process]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert post(other, alice, lines(*[about(image_part())] * 10)).is_success
    (process,) = image_processes()
    process.suspend()
    monkeypatch.setattr(processes, "SECONDS", 1.0)
    error = refusal(post(other, alice, lines(about(image_part()))), 400, "file", "invalid_file_format")
    assert error["details"][0]["code"] == "image_too_costly"
    wait_for(lambda: not process.is_running())


def test_graders_and_images_may_take_turns_in_one_process(
    other: Api, alice: Tenant, image_processes: Callable[[], list[psutil.Process]]
) -> None:
    assert post(other, alice, lines(*[about(image_part())] * 10)).is_success
    asked = {"grader": CHECK, "model_sample": "x", "item": {"answer": "x"}}
    answer = alice.http.post(f"{other.url}/v1/fine_tuning/alpha/graders/run", json=asked)
    assert answer.json()["reward"] == 1
    assert post(other, alice, lines(*[about(image_part())] * 10)).is_success
    assert len(image_processes()) == 1


def test_text_needs_no_process(
    other: Api, alice: Tenant, image_processes: Callable[[], list[psutil.Process]]
) -> None:
    assert post(other, alice, dataset(10)).is_success
    assert image_processes() == []


def test_images_have_room_beside_the_other_bytes_of_a_row(api: Api, alice: Tenant) -> None:
    photo = encoded(Image.frombytes("RGB", (200, 100), random.Random(0).randbytes(3 * 200 * 100)))
    content = lines(*[about(image_part(data_url(photo)))] * 10)
    with api.beside(max_row_bytes=5000, max_row_image_bytes=2 * len(photo)) as other:
        assert post(other, alice, content).json()["rows"] == 10
    with api.beside(max_row_bytes=5000, max_row_image_bytes=len(photo)) as other:
        error = refusal(post(other, alice, content), 400, "file", "invalid_file_format")
    assert error["details"][0]["code"] == "row_too_long"
