"""Events of any size: neither a page, nor a stream, nor all streams together hold more than their limit."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import ClientDisconnect

from api.http.paging import PAGE_BYTES
from api.jobs.events.bounded import Limits
from api.jobs.events.feed import AT_ONCE, Cursor, EventFeed, News, read_news
from api.jobs.events.open_streams import OpenStreams
from api.jobs.events.stream import EventStream
from tests.fixtures.service.api import Api, Tenant

JOBS = "/v1/fine_tuning/jobs"
KILOBYTE = 1000
SAMPLES = """
INSERT INTO events (id, job_id, level, type, message, data)
    SELECT 'ftevent-' || :job_id || n, :job_id, 'info', 'samples', 'Step ' || n,
        jsonb_build_object('rows', repeat('x', :size)) FROM generate_series(1, :count) n
"""


def add_samples(api: Api, job_id: str, count: int, size: int) -> None:
    """Add events with `size` letters each."""
    with api.sessions.begin() as session:
        session.execute(text(SAMPLES), {"job_id": job_id, "count": count, "size": size})


@pytest.fixture
def job_id(alice: Tenant) -> str:
    """Return a job, which has two short events from the start."""
    job_id: str = alice.create_job()["id"]
    return job_id


def page(tenant: Tenant, job_id: str, **asked: Any) -> dict[str, Any]:
    params = {name: value for name, value in asked.items() if value is not None}
    answer: dict[str, Any] = tenant.http.get(f"{JOBS}/{job_id}/events", params=params).json()
    return answer


def test_a_page_of_the_largest_events_has_four_mebibytes(api: Api, alice: Tenant, job_id: str) -> None:
    add_samples(api, job_id, 60, 16 * 3 * 2000)
    answer = alice.http.get(f"{JOBS}/{job_id}/events?limit=1000")
    assert len(answer.content) < 4.1 * 1024**2
    assert (len(answer.json()["data"]), answer.json()["has_more"]) == (43, True)


@pytest.mark.parametrize("type", [None, "samples"])
def test_pages_that_end_early_reach_every_event_once(
    api: Api, alice: Tenant, job_id: str, type: str | None
) -> None:
    add_samples(api, job_id, 9, PAGE_BYTES * 3 // 10)
    pages = [page(alice, job_id, limit=100, type=type)]
    while pages[-1]["has_more"]:
        pages.append(page(alice, job_id, limit=100, type=type, after=pages[-1]["last_id"]))
    assert [len(each["data"]) for each in pages] == [3, 3, 3 if type else 5]
    messages = [event["message"] for each in pages for event in each["data"]]
    assert messages[:9] == [f"Step {number}" for number in range(9, 0, -1)]
    assert len(messages) == 9 + 2 * (type is None)


def test_an_event_that_exceeds_a_page_comes_alone(api: Api, alice: Tenant, job_id: str) -> None:
    add_samples(api, job_id, 2, PAGE_BYTES + KILOBYTE)
    first = page(alice, job_id)
    second = page(alice, job_id, after=first["last_id"])
    third = page(alice, job_id, after=second["last_id"])
    assert [len(each["data"]) for each in (first, second, third)] == [1, 1, 2]
    assert [each["has_more"] for each in (first, second, third)] == [True, True, False]


@pytest.mark.parametrize(("limit", "number"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_a_page_says_whether_more_events_follow(alice: Tenant, job_id: str, limit: int, number: int) -> None:
    answer = page(alice, job_id, limit=limit)
    assert (len(answer["data"]), answer["has_more"]) == (number, number < 2)


def test_a_stream_gets_large_events_a_few_at_a_time(api: Api, alice: Tenant, job_id: str) -> None:
    add_samples(api, job_id, 9, 80 * KILOBYTE)
    alice.openai.fine_tuning.jobs.cancel(job_id)
    news = read_news(api.sessions, [Cursor(job_id, 0)], AT_ONCE)[Cursor(job_id, 0)]
    assert (len(news.events), news.over) == (5, False)
    assert AT_ONCE.bytes - 80 * KILOBYTE < news.bytes <= AT_ONCE.bytes
    answer = alice.http.get(f"{JOBS}/{job_id}/events", headers={"accept": "text/event-stream"})
    sent = [json.loads(line[6:])["id"] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert sent == [event["id"] for event in page(alice, job_id)["data"]][::-1]


def test_all_streams_together_hold_no_more_than_their_limit(api: Api, alice: Tenant) -> None:
    """Listeners whose clients do not read make the others wait until these have sent their events."""
    at_once = Limits(events=200, bytes=10 * KILOBYTE)
    jobs = [alice.create_job()["id"] for _ in range(4)]
    for job in jobs:
        add_samples(api, job, 5, 3 * KILOBYTE)

    async def listen() -> None:
        feed = EventFeed(api.sessions, at_once, most_bytes=25 * KILOBYTE, look_seconds=0.01)
        waiting = {asyncio.create_task(feed.after(Cursor(job, 0))) for job in jobs}
        held = list[News]()
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            held += [task.result() for task in done]
            assert held, "no listener was told anything"
            assert sum(news.bytes for news in held) <= 25 * KILOBYTE
            if sum(news.bytes for news in held) > 15 * KILOBYTE:
                done = set()
                held.clear()

    asyncio.run(listen())


def test_a_stream_ends_if_its_client_does_not_read() -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"data: {}"

    async def never(_message: Any) -> None:
        await asyncio.Event().wait()

    stream = EventStream(events(), OpenStreams(1, 1), "project", {}, send_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(ClientDisconnect):
        asyncio.run(stream.stream_response(never))
    assert time.monotonic() - began < 60
