"""Clients that the API does not know yet: their floods, and what these leave to the others. Slow bodies."""

import asyncio
import json
import re
import secrets
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.admission import bodies
from api.admission.callers import Callers
from api.admission.fair_share import AT_ONCE
from api.admission.strangers import MOST_WAITING, SIGN_INS_AT_ONCE, Strangers
from core.access.keys import revoke_key
from core.database import reading_sessions
from core.errors import NotAuthenticated, Unavailable
from tests.fixtures.clients.slow import half_a_body
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, wait_for

FLOOD = 60  # more than the threads and the database connections of a process
SIGN_IN = "/v1/sign_in"
JOBS = "/v1/fine_tuning/jobs"
OWN = {"x-tunery-dashboard": "1"}

LOCK_SIGN_INS = text("LOCK TABLE sign_ins")  # each look-up of a browser's session waits for it
LOCK_CREATIONS = text("LOCK TABLE idempotency_records")
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.mark.exhaustive
def test_a_flood_of_invented_sessions_takes_nothing_from_those_who_are_known(api: Api, alice: Tenant) -> None:
    assert alice.http.get("/v1/models").is_success
    with (
        httpx.Client(base_url=api.url, timeout=60, limits=httpx.Limits(max_connections=FLOOD)) as http,
        ThreadPoolExecutor(FLOOD) as pool,
        api.sessions() as session,
    ):
        session.execute(LOCK_SIGN_INS)

        def invent(number: int) -> httpx.Response:
            return http.get("/v1/models", headers={"cookie": f"tunery_session=tns_{number:048x}"})

        flood = [pool.submit(invent, number) for number in range(FLOOD)]
        wait_for(lambda: all(each.done() for each in flood))
        assert session.scalar(WAITING) == 1
        assert alice.http.get("/v1/models", timeout=30).is_success
        session.rollback()
        answers = [each.result() for each in flood]
    assert {answer.status_code for answer in answers} == {503}
    assert int(answers[0].headers["retry-after"]) > 0


def test_a_new_key_is_answered_beside_a_flood_of_invented_keys(api: Api) -> None:
    """The look-ups of all strangers share their queries, so the flood delays it by one of them."""

    async def ask() -> set[str]:
        door = Door(api)
        flood = [asyncio.create_task(door.project(invented())) for _ in range(MOST_WAITING - 1)]
        await asyncio.sleep(0)
        assert await door.project(new.key) == new.project_id
        return {type(error).__name__ for error in await asyncio.gather(*flood, return_exceptions=True)}

    new = api.tenant()
    assert asyncio.run(ask()) == {"NotAuthenticated"}


@pytest.mark.parametrize("header", ["Bearer  {}", "bearer {}"])
def test_the_spelling_of_a_header_gives_a_key_no_further_turns(api: Api, alice: Tenant, header: str) -> None:
    body = {"model": BASE_MODEL, "training_file": alice.upload()}
    with ThreadPoolExecutor(AT_ONCE) as pool, api.sessions() as session:
        session.execute(LOCK_CREATIONS)
        slow = [pool.submit(alice.http.post, JOBS, json=body) for _ in range(AT_ONCE)]
        wait_for(lambda: session.scalar(WAITING) == AT_ONCE)
        with pytest.raises(httpx.ReadTimeout):
            alice.http.get("/v1/models", headers={"authorization": header.format(alice.key)}, timeout=0.5)
        session.rollback()
        assert [answer.result().status_code for answer in slow] == [200] * AT_ONCE


def test_half_bodies_of_strangers_hold_up_no_sign_in(api: Api, alice: Tenant) -> None:
    with ExitStack() as open_:
        for _ in range(2 * SIGN_INS_AT_ONCE):
            open_.enter_context(half_a_body(api.url, SIGN_IN, x_tunery_dashboard="1"))
        answer = httpx.post(api.url + SIGN_IN, json={"api_key": alice.key}, headers=OWN, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [(JOBS, {}), ("/v1/files", {"content_type": "multipart/form-data; boundary=x"})],
)
def test_half_bodies_of_a_project_hold_none_of_its_turns(
    api: Api, alice: Tenant, path: str, headers: dict[str, str]
) -> None:
    headers = headers | {"authorization": f"Bearer {alice.key}"}
    with ExitStack() as open_:
        for _ in range(2 * AT_ONCE):
            open_.enter_context(half_a_body(api.url, path, **headers))
        assert alice.http.get("/v1/models", timeout=30).is_success


@pytest.mark.parametrize("path", [JOBS, SIGN_IN])
def test_a_body_that_does_not_come_is_not_awaited_for_long(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    monkeypatch.setattr("api.http.boundary.DRAIN_SECONDS", 0.1)
    with half_a_body(api.url, path, authorization=f"Bearer {alice.key}") as sender:
        answer = b"".join(iter(lambda: sender.recv(1 << 16), b""))  # until the API closes the connection
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 408 ", head)
    error = json.loads(body)["error"]
    assert error["code"] == "request_timeout"
    assert "did not arrive within 0.1 s" in error["message"]


def test_a_stranger_sends_little(api: Api) -> None:
    answer = httpx.post(api.url + SIGN_IN, json={"api_key": "x" * 5000}, headers=OWN)
    refusal(answer, 413, None, "request_too_large")


def invented() -> str:
    """Return a key that has the form of a key, so that only the database can refuse it."""
    body = f"tnr_{secrets.token_hex(16)}_{secrets.token_hex(24)}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


class Sessions:
    """Sessions of the API's database. The one with the number `hanging` is opened when `let_go` is set."""

    def __init__(self, api: Api, hanging: int = 0):
        self.opened = 0
        self.let_go = threading.Event()
        self._sessions, self._hanging = reading_sessions(api.app.state.engine), hanging

    def __call__(self) -> Session:
        self.opened += 1
        assert self.opened != self._hanging or self.let_go.wait(120)
        return self._sessions()


class Door:
    """Looks up keys as an API does."""

    def __init__(
        self,
        api: Api,
        trust: float = 3600.0,
        strangers: Strangers | None = None,
        sessions: Sessions | None = None,
        **limits: Any,
    ) -> None:
        settings = api.settings.model_copy(update={"key_trust_seconds": trust})
        opens: Any = sessions or Sessions(api)
        self._callers = Callers(opens, settings, strangers or Strangers(), **limits)

    async def project(self, key: str) -> str:
        return (await self._callers.find(key)).project_id


def test_a_known_key_is_looked_up_again_while_the_look_up_of_strangers_hangs(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    async def ask() -> None:
        sessions = Sessions(api, hanging=2)
        door = Door(api, 0.0, Strangers(wait_seconds=2.0), sessions)
        await door.project(alice.key)
        hanging = asyncio.create_task(door.project(invented()))
        await asyncio.to_thread(wait_for, lambda: sessions.opened == 2)
        assert await door.project(alice.key) == alice.project_id
        with pytest.raises(Unavailable, match="new API keys"):
            await door.project(bob.key)
        sessions.let_go.set()
        with pytest.raises(Unavailable):
            await hanging

    asyncio.run(ask())


def test_a_revoked_key_is_a_stranger_after_its_next_look_up(api: Api) -> None:
    tenant = api.tenant()

    async def ask() -> None:
        strangers = Strangers(most_waiting=1)
        door = Door(api, 0.0, strangers)
        await door.project(tenant.key)
        with api.sessions.begin() as session:
            revoke_key(session, tenant.key.split("_")[1])
        async with strangers.waiting():  # takes their only place
            with pytest.raises(NotAuthenticated):
                await door.project(tenant.key)
            with pytest.raises(Unavailable):
                await door.project(tenant.key)

    asyncio.run(ask())


@pytest.mark.parametrize("limit", [{"most_known": 1}, {"known_seconds": 0.0}], ids=["the most", "the time"])
def test_keys_are_not_remembered_without_end(
    api: Api, alice: Tenant, bob: Tenant, limit: dict[str, Any]
) -> None:
    async def ask() -> int:
        sessions = Sessions(api)
        door = Door(api, sessions=sessions, **limit)
        for key in (alice.key, bob.key, alice.key):
            await door.project(key)
        return sessions.opened

    assert asyncio.run(ask()) == 3


def test_requests_of_one_key_at_once_share_a_look_up(api: Api, alice: Tenant) -> None:
    async def ask() -> int:
        sessions = Sessions(api)
        door = Door(api, 0.0, sessions=sessions)
        await door.project(alice.key)
        await asyncio.gather(*(door.project(alice.key) for _ in range(20)))
        return sessions.opened - 1

    assert asyncio.run(ask()) == 1
