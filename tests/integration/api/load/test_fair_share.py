"""A project that floods the API leaves room to others, and its uploads do not block its other requests."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.admission.fair_share import AT_ONCE
from api.admission.store_threads import UPLOAD_THREADS
from core.access.audit import Actor
from core.access.idempotency import Attempt, for_good, once
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, wait_for

FLOOD = 60  # more than the threads and the database connections of a process

LOCK = text("LOCK TABLE idempotency_records")  # each request that creates or completes something waits for it
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def all_wait(session: Session, number: int) -> None:
    wait_for(lambda: session.scalar(WAITING) == number)


def test_a_flood_of_slow_requests_takes_no_room_from_another_project(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    body = {"model": BASE_MODEL, "training_file": alice.upload()}
    alice.http.timeout = 60

    def create(_: int) -> int:
        return alice.http.post("/v1/fine_tuning/jobs", json=body).status_code

    with ThreadPoolExecutor(FLOOD) as pool, api.sessions() as session:
        session.execute(LOCK)
        flood = [pool.submit(create, number) for number in range(FLOOD)]
        all_wait(session, AT_ONCE)
        quick = bob.http.get("/v1/fine_tuning/jobs", timeout=30).status_code
        assert not any(creation.done() for creation in flood)
        session.rollback()
        assert [creation.result() for creation in flood] == [200] * FLOOD
    assert quick == 200


def test_no_content_type_spares_a_request_its_turn(api: Api, alice: Tenant) -> None:
    body = {"model": BASE_MODEL, "training_file": alice.upload()}
    with ThreadPoolExecutor(AT_ONCE) as pool, api.sessions() as session:
        session.execute(LOCK)
        slow = [pool.submit(alice.http.post, "/v1/fine_tuning/jobs", json=body) for _ in range(AT_ONCE)]
        all_wait(session, AT_ONCE)
        with pytest.raises(httpx.ReadTimeout):
            alice.http.get("/v1/models", headers={"content-type": "multipart/x"}, timeout=1)
        session.rollback()
        assert [answer.result().status_code for answer in slow] == [200] * AT_ONCE


def test_uploads_that_are_being_completed_leave_their_key_its_turns(api: Api, alice: Tenant) -> None:
    """It takes minutes to join the parts of a large upload."""
    announced = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    paths = [f"/v1/uploads/{alice.http.post('/v1/uploads', json=announced).json()['id']}" for _ in range(3)]
    bodies = [
        {"part_ids": [alice.http.post(f"{path}/parts", files={"data": b"x"}).json()["id"]]} for path in paths
    ]
    with ThreadPoolExecutor(len(paths)) as pool, api.sessions() as session:
        session.execute(LOCK)
        slow = [
            pool.submit(alice.http.post, f"{path}/complete", json=body)
            for path, body in zip(paths, bodies, strict=True)
        ]
        all_wait(session, len(paths))
        assert alice.http.get("/v1/models", timeout=30).status_code == 200
        session.rollback()
        assert [answer.result().status_code for answer in slow] == [200] * len(paths)


def test_uploads_that_wait_for_one_another_leave_room_to_another_project(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    one = uuid4().hex
    attempt = Attempt(Actor(alice.project_id), "POST /somewhere", one, 0, time.monotonic(), "")

    def upload(tenant: Tenant, key: str) -> int:
        return tenant.http.post(
            "/v1/files",
            headers={"idempotency-key": key},
            data={"purpose": "user_data"},
            files={"file": ("a.txt", b"the same")},
            timeout=30,
        ).status_code

    with ThreadPoolExecutor(2 * UPLOAD_THREADS) as pool, api.sessions() as session:
        once(session, attempt, "something", lambda: {"id": "of a transaction that goes on"}, for_good)
        flood = [pool.submit(upload, alice, one) for _ in range(2 * UPLOAD_THREADS)]
        all_wait(session, AT_ONCE)
        assert upload(bob, one) == 200
        session.rollback()
        assert {answer.result() for answer in flood} == {200}
