"""This release and a newer one, side by side while the newer one migrates the database."""

import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from cli.embedded import EmbeddedServers
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.schema import LOCK_TIMEOUT
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, wait_for
from tests.fixtures.service.releases import CONTRACTED, SECONDS, NewerRelease, ready

JOBS = "/v1/fine_tuning/jobs"
# A migration waits for a lock no longer than LOCK_TIMEOUT, and requests may wait behind it
MOST_SECONDS = LOCK_TIMEOUT / 1000 + 2  # longer than the slowest request without a migration


class Load:
    """Clients that upload, create, look, pause, resume and cancel until they are stopped."""

    def __init__(self, key: str) -> None:
        self._headers = {"authorization": f"Bearer {key}"}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.wrong: list[str] = []
        self.rounds: dict[str, int] = {}
        self.slowest = 0.0

    def begin(self, url: str) -> None:
        """Let two clients of this server begin."""
        self.rounds[url] = 0
        threads = [threading.Thread(target=self._run, args=(url,)) for _ in range(2)]
        self._threads += threads
        for thread in threads:
            thread.start()

    def more_rounds(self, url: str, rounds: int = 4) -> None:
        wanted = self.rounds[url] + rounds
        wait_for(lambda: self.rounds[url] >= wanted or self.wrong, SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, url: str) -> None:
        with httpx.Client(base_url=url, headers=self._headers, timeout=60) as http:
            while not self._stopping.is_set():
                try:
                    self._round(http)
                    self.rounds[url] += 1
                except (httpx.HTTPError, KeyError) as error:
                    self.wrong.append(repr(error))
                    return

    def _round(self, http: httpx.Client) -> None:
        content = {"file": ("train.jsonl", dataset(12))}
        file = self._ask(http, "POST", "/v1/files", data={"purpose": "fine-tune"}, files=content)["id"]
        asked = {"model": BASE_MODEL, "training_file": file}
        self._ask(http, "POST", JOBS, json=asked)  # it waits for the worker
        job = self._ask(http, "POST", JOBS, json=asked)["id"]
        self._ask(http, "GET", f"{JOBS}/{job}")
        self._ask(http, "GET", JOBS)
        self._ask(http, "GET", f"{JOBS}/{job}/events")
        self._ask(http, "POST", f"{JOBS}/{job}/pause", may=(400,))  # 400 where a claim has come between
        self._ask(http, "POST", f"{JOBS}/{job}/resume", may=(400,))
        self._ask(http, "POST", f"{JOBS}/{job}/cancel", headers={"idempotency-key": uuid4().hex})
        self._ask(http, "DELETE", f"{JOBS}/{job}")

    def _ask(self, http: httpx.Client, method: str, path: str, may: tuple[int, ...] = (), **body: Any) -> Any:
        began = time.monotonic()
        answer = http.request(method, path, **body)
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer.status_code not in (200, *may):
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


class Claims:
    """What a trainer does with the queue: it claims jobs and gives them back, until it is stopped."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.claimed = 0
        self.slowest = 0.0

    def __enter__(self) -> "Claims":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            began = time.monotonic()
            with self._sessions.begin() as session:
                lease = lifecycle.claim(session, "a test", 60)
            if lease is not None:
                with self._sessions.begin() as session:
                    lifecycle.renew(session, lease, Progress("training", step=1))
                with self._sessions.begin() as session:
                    lifecycle.release(session, lease, "The test goes on")
                self.claimed += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


@pytest.mark.exhaustive
def test_two_releases_answer_side_by_side_while_the_database_migrates(
    servers: EmbeddedServers, api: Api, alice: Tenant, tmp_path: Path
) -> None:
    newer = NewerRelease(tmp_path / "newer", servers, api)
    load = Load(alice.key)
    with Claims(api.sessions) as claims:
        try:
            load.begin(api.url)
            load.more_rounds(api.url)
            usual = load.slowest
            said = newer.migrate()
            load.more_rounds(api.url)
            slowest = max(load.slowest, claims.slowest)
            assert ready(api.url)
            with newer.answering() as newer_url:
                load.begin(newer_url)
                load.more_rounds(newer_url)
                load.more_rounds(api.url)
                load.stop()
        finally:
            load.stop()
    assert f"Held back: {CONTRACTED}" in said
    assert load.wrong == []
    assert claims.claimed > 0
    assert slowest < MOST_SECONDS + usual, f"slowest request or claim {slowest:.2f} s, before {usual:.2f} s"
