"""Clients that the API does not know yet: their floods, and what these leave to the others. Slow bodies."""

import asyncio
import json
import re
import secrets
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.admission import bodies, callers, strangers
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


@pytest.fixture
def hasty(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let strangers wait for a moment only. The API knows Alice by then."""
    assert alice.http.get("/v1/models").is_success
    monkeypatch.setattr(strangers, "WAIT_SECONDS", 0.2)


@pytest.mark.usefixtures("hasty")
def test_a_flood_of_invented_sessions_takes_nothing_from_those_who_are_known(api: Api, alice: Tenant) -> None:
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
        door = Door(api, trust=3600.0)
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


class Door:
    """Looks up keys as an API does."""

    def __init__(self, api: Api, trust: float) -> None:
        settings = api.settings.model_copy(update={"key_trust_seconds": trust})
        self._callers = Callers(reading_sessions(api.app.state.engine), settings, Strangers())

    async def project(self, key: str) -> str:
        return (await self._callers.find(key)).project_id


def test_a_known_key_is_looked_up_again_while_the_look_up_of_strangers_hangs(
    api: Api, alice: Tenant, bob: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger, let_go, authenticate = invented(), threading.Event(), callers.keys.authenticate_all

    def hang_for_the_stranger(session: Session, tokens: Sequence[str]) -> Any:
        assert stranger not in tokens or let_go.wait(120)
        return authenticate(session, tokens)

    async def ask() -> None:
        door = Door(api, trust=0.0)
        await door.project(alice.key)
        monkeypatch.setattr(strangers, "WAIT_SECONDS", 0.2)
        hanging = asyncio.create_task(door.project(stranger))
        await asyncio.sleep(0)
        assert await door.project(alice.key) == alice.project_id
        with pytest.raises(Unavailable, match="new API keys"):
            await door.project(bob.key)
        let_go.set()
        with pytest.raises(Unavailable):
            await hanging

    monkeypatch.setattr(callers.keys, "authenticate_all", hang_for_the_stranger)
    asyncio.run(ask())


def test_a_revoked_key_is_a_stranger_after_its_next_look_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = api.tenant()

    async def ask() -> None:
        door = Door(api, trust=0.0)
        await door.project(tenant.key)
        with api.sessions.begin() as session:
            revoke_key(session, tenant.key.split("_")[1])
        monkeypatch.setattr(strangers, "MOST_WAITING", 0)
        with pytest.raises(NotAuthenticated):
            await door.project(tenant.key)
        with pytest.raises(Unavailable):
            await door.project(tenant.key)

    asyncio.run(ask())


@pytest.fixture(params=["the most", "the time"])
def forgetful(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the API remember one key, or no key for longer than a moment."""
    if request.param == "the most":
        monkeypatch.setattr(callers, "MOST_KNOWN", 1)
    else:
        monkeypatch.setattr(callers, "KNOWN_SECONDS", 0.0)
    return


@pytest.mark.usefixtures("forgetful")
def test_keys_are_not_remembered_without_end(
    api: Api, alice: Tenant, bob: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        door = Door(api, trust=3600.0)
        await door.project(alice.key)
        await door.project(bob.key)
        monkeypatch.setattr(strangers, "MOST_WAITING", 0)
        with pytest.raises(Unavailable):
            await door.project(alice.key)

    asyncio.run(ask())


def test_requests_of_one_key_at_once_share_a_look_up(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[Sequence[str]] = []
    authenticate = callers.keys.authenticate_all

    def count(session: Session, tokens: Sequence[str]) -> Any:
        looked_up.append(tokens)
        return authenticate(session, tokens)

    monkeypatch.setattr(callers.keys, "authenticate_all", count)

    async def ask() -> int:
        door = Door(api, trust=1.0)
        await door.project(alice.key)
        monkeypatch.setattr(callers.time, "monotonic", lambda: began + 2.0)
        first = len(looked_up)
        await asyncio.gather(*(door.project(alice.key) for _ in range(20)))
        return len(looked_up) - first

    began = callers.time.monotonic()
    assert asyncio.run(ask()) == 1
