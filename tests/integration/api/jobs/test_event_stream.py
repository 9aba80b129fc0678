"""Streams: GET …/events with Accept: text/event-stream. They resume, end, and cost the server little."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.fine_tuning import FineTuningJobEvent
from sqlalchemy import QueuePool, func

from api.jobs.events import stream as event_stream
from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.tables import ApiKey
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for

JOBS = "/v1/fine_tuning/jobs"
STREAM = {"accept": "text/event-stream"}


def say(api: Api, job_id: str, *messages: str) -> None:
    with api.sessions.begin() as session:
        for message in messages:
            record_event(session, job_id, message)


class Stream:
    """An open stream. Iterating over it gives its events, and ends when the stream does."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.lines = response.iter_lines()
        self.last_id: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        fields: dict[str, str] = {}
        for line in self.lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if "data" in fields:
                data: dict[str, Any] = json.loads(fields["data"])
                strictly(FineTuningJobEvent, data)
                self.last_id = fields["id"]
                yield data
            fields.clear()

    def messages(self, count: int) -> list[str]:
        """Return the messages of the next `count` events."""
        return [event["message"] for event in islice(self, count)]


@contextmanager
def stream(tenant: Tenant, url: str, job_id: str, last_id: str | None = None) -> Iterator[Stream]:
    headers = STREAM | ({"last-event-id": last_id} if last_id else {})
    headers["authorization"] = f"Bearer {tenant.key}"
    with httpx.stream("GET", f"{url}{JOBS}/{job_id}/events", headers=headers, timeout=60) as response:
        yield Stream(response)


def test_old_and_new_events_come_in_order_and_the_stream_ends_with_the_job(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with stream(alice, api.url, job_id) as open_stream:
        assert open_stream.response.headers["content-type"].startswith("text/event-stream")
        assert open_stream.messages(2)[0].startswith("Created fine-tuning job")
        say(api, job_id, "one", "two\nlines")
        assert open_stream.messages(2) == ["one", "two\nlines"]
        alice.openai.fine_tuning.jobs.cancel(job_id)
        assert [event["message"] for event in open_stream] == ["The job was cancelled"]
    listed = alice.http.get(f"{JOBS}/{job_id}/events").json()["data"]
    assert open_stream.last_id == listed[0]["id"]
    with stream(alice, api.url, job_id, open_stream.last_id) as over:
        assert over.response.status_code == 204
    with stream(alice, api.url, job_id, listed[-1]["id"]) as rest:
        assert [event["id"] for event in rest] == [event["id"] for event in listed[-2::-1]]


def test_a_stream_is_compressed_for_those_who_read_that_and_each_event_comes_at_once(
    api: Api, alice: Tenant
) -> None:
    job_id = alice.create_job()["id"]
    seen = {}
    for encoding in ("gzip", "identity"):
        headers = STREAM | {"authorization": f"Bearer {alice.key}", "accept-encoding": encoding}
        url = f"{api.url}{JOBS}/{job_id}/events"
        with httpx.stream("GET", url, headers=headers, timeout=60) as answer:
            assert answer.headers.get("content-encoding", "identity") == encoding
            open_stream = Stream(answer)
            open_stream.messages(2)
            say(api, job_id, "at once")
            while open_stream.messages(1) != ["at once"]:
                pass
            begun = answer.num_bytes_downloaded
            say(api, job_id, *["alike"] * 20)
            open_stream.messages(20)
            seen[encoding] = answer.num_bytes_downloaded - begun
    assert seen["gzip"] < seen["identity"] / 2


def test_a_stream_outlives_a_restart_by_its_last_event(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.beside() as first, stream(alice, first.url, job_id) as before:
        seen = before.messages(2)
        say(api, job_id, "before the restart")
        seen += before.messages(1)
        threading.Timer(0.2, first.stop).start()
        assert list(before) == []  # the stream ends at once, although the job goes on
    say(api, job_id, "during the restart")
    with api.beside() as second, stream(alice, second.url, job_id, before.last_id) as after:
        seen += after.messages(1)
        say(api, job_id, "after the restart")
        seen += after.messages(1)
    assert seen[2:] == ["before the restart", "during the restart", "after the restart"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_hundreds_of_listeners_hold_no_connection_and_no_thread(api: Api, alice: Tenant) -> None:
    jobs = [alice.create_job()["id"] for _ in range(3)]
    pool = api.app.state.engine.pool
    assert isinstance(pool, QueuePool)

    async def listen(client: httpx.AsyncClient, job_id: str, here: asyncio.Semaphore) -> list[str]:
        found = []
        async with client.stream("GET", f"{JOBS}/{job_id}/events", headers=STREAM) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line[6:])["message"])
                    if len(found) == 2:
                        here.release()
        return found

    async def all_listen() -> list[list[str]]:
        limits = httpx.Limits(max_connections=None)
        headers = {"authorization": f"Bearer {alice.key}"}
        async with httpx.AsyncClient(base_url=api.url, headers=headers, limits=limits, timeout=60) as client:
            here = asyncio.Semaphore(0)
            listeners = [asyncio.create_task(listen(client, jobs[n % 3], here)) for n in range(300)]
            for _ in listeners:
                await here.acquire()
            await asyncio.to_thread(wait_for, lambda: pool.checkedout() == 0)
            assert threading.active_count() < 100
            assert (await client.get(f"{JOBS}/{jobs[0]}")).status_code == 200
            for job_id in jobs:
                await asyncio.to_thread(say, api, job_id, f"to {job_id}")
                await asyncio.to_thread(alice.openai.fine_tuning.jobs.cancel, job_id)
            return await asyncio.gather(*listeners)

    for number, heard in enumerate(asyncio.run(all_listen())):
        assert heard[2:] == [f"to {jobs[number % 3]}", "The job was cancelled"]


def test_a_silent_stream_is_kept_alive_by_comments(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.7)
    job_id = alice.create_job()["id"]
    with stream(alice, api.url, job_id) as silent:
        silent.messages(2)
        assert next(line for line in silent.lines if line).startswith(":")
        say(api, job_id, "not silent")
        assert silent.messages(1) == ["not silent"]


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
def test_a_stream_ends_with_its_key(api: Api, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.7)
    tenant = api.tenant()
    job_id = tenant.create_job()["id"]
    with stream(tenant, api.url, job_id) as open_stream:
        open_stream.messages(2)
        say(api, job_id, "while the key is live")
        assert open_stream.messages(1) == ["while the key is live"]
        with api.sessions.begin() as session:
            setattr(session.get_one(ApiKey, tenant.key.split("_")[1]), end, func.now())
        assert len(list(islice(open_stream.lines, 20))) < 20  # a stream that goes on sends comments


@pytest.mark.parametrize("status", ["failed", "succeeded"])
def test_the_last_event_of_every_end_is_pushed(
    api: Api, alice: Tenant, adapter_folder: Path, status: str
) -> None:
    job_id = alice.create_job()["id"]
    with stream(alice, api.url, job_id) as open_stream:
        lease = api.claim(job_id)
        if status == "succeeded":
            api.finish(lease, adapter_folder)
        else:
            with api.sessions.begin() as session:
                lifecycle.fail(session, lease, JobError("bad", "It went wrong"))
        last = list(open_stream)[-1]["message"]
    says = {"failed": "The job failed: It went wrong", "succeeded": "The job has successfully completed"}
    assert last == says[status]


def test_a_wrong_last_event_id_is_refused(api: Api, alice: Tenant, bob: Tenant) -> None:
    job_id, other = alice.create_job()["id"], alice.create_job()["id"]
    foreign = alice.http.get(f"{JOBS}/{other}/events").json()["last_id"]
    for wrong in ("unheard-of", foreign):
        answer = alice.http.get(f"{JOBS}/{job_id}/events", headers=STREAM | {"last-event-id": wrong})
        refusal(answer, 400, "Last-Event-ID", "invalid_cursor")
    answer = bob.http.get(f"{JOBS}/{job_id}/events", headers=STREAM)
    refusal(answer, 404, "fine_tuning_job_id", "fine_tune_not_found")
