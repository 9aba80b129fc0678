"""Hundreds of streams of events that stay silent, as open pages of the dashboard leave them."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from api import stop_times
from api.jobs.events.open_streams import MOST_STREAMS, OpenStreams, most_streams
from core.errors import RateLimited, Unavailable
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.service.stopping import stoppable_api

STREAMS, SILENT_JOBS = 500, 5
JOBS = "/v1/fine_tuning/jobs"
STREAM = {"accept": "text/event-stream"}
QUICK = 15.0  # seconds for a poll on a busy machine; one that waited for a silent stream would end with it
CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
MOST_CONNECTIONS = 26  # of an API process (decision 33)


@contextmanager
def open_stream(url: str, key: str, job_id: str) -> Iterator[socket.socket]:
    """Yield a stream of a job's events that has begun."""
    address = urlsplit(url)
    head = (
        f"GET {JOBS}/{job_id}/events HTTP/1.1\r\nhost: tunery\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {key}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as stream:
        stream.sendall(head.encode())
        got = b""
        while b"retry: " not in got:
            got += (received := stream.recv(1 << 16))
            assert received, got
        yield stream


@pytest.mark.exhaustive
def test_silent_streams_hold_nothing_that_others_need_and_end_with_the_server(
    api: Api, alice: Tenant
) -> None:
    jobs = [alice.create_job()["id"] for _ in range(SILENT_JOBS)]
    with api.sessions() as session:
        before = session.scalar(CONNECTIONS) or 0
    with stoppable_api(api.settings) as other, ExitStack() as open_:
        streams = [
            open_.enter_context(open_stream(other.url, alice.key, jobs[number % SILENT_JOBS]))
            for number in range(STREAMS)
        ]
        for job in jobs:
            began = time.monotonic()
            polled = httpx.get(f"{other.url}{JOBS}/{job}", headers=dict(alice.http.headers), timeout=QUICK)
            assert polled.status_code == 200
            assert time.monotonic() - began < QUICK
        with api.sessions() as session:
            assert (session.scalar(CONNECTIONS) or 0) - before <= MOST_CONNECTIONS
        other.process.terminate()
        for stream in streams:
            while stream.recv(1 << 16):
                pass
        other.process.join(stop_times.REQUESTS)
        assert other.process.exitcode is not None


def test_a_project_may_have_a_limited_number_of_streams_at_a_time(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    job_id, other_id = alice.create_job()["id"], bob.create_job()["id"]
    path = f"{JOBS}/{job_id}/events"
    with api.beside(project_event_streams=2) as other, ExitStack() as open_:
        first = open_.enter_context(open_stream(other.url, alice.key, job_id))
        open_.enter_context(open_stream(other.url, alice.key, job_id))

        def ask() -> httpx.Response:
            return httpx.get(other.url + path, headers={**alice.http.headers, **STREAM}, timeout=30)

        refused = ask()
        refusal(refused, 429, None, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert httpx.get(other.url + path, headers=dict(alice.http.headers)).status_code == 200
        open_.enter_context(open_stream(other.url, bob.key, other_id))
        first.shutdown(socket.SHUT_RDWR)

        def is_admitted() -> bool:
            with httpx.stream("GET", other.url + path, headers={**alice.http.headers, **STREAM}) as answer:
                return answer.status_code == 200

        wait_for(is_admitted)


def test_a_process_refuses_a_stream_for_which_it_has_no_descriptor() -> None:
    assert most_streams(1000) == 750
    assert most_streams(10**6) == MOST_STREAMS
    permits = OpenStreams(most=2, most_of_project=1)
    with permits.permit_for("a"), permits.permit_for("b"):
        with pytest.raises(RateLimited), permits.permit_for("a"):
            pass
        with pytest.raises(Unavailable), permits.permit_for("c"):
            pass
    with permits.permit_for("c"):
        pass
