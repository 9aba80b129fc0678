"""An API that is told to stop answers what it has accepted."""

from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

import httpx
import pytest
from sqlalchemy import text

from api import stop_times
from api.admission.fair_share import AT_ONCE
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, wait_for
from tests.fixtures.service.stopping import stoppable_api

JOBS = "/v1/fine_tuning/jobs"
CLIENTS = 6
BEFORE = 12  # creations that are answered before the API is told to stop

LOCK = text("LOCK TABLE idempotency_records")  # each creation waits for it
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.mark.exhaustive
def test_sigterm_under_load_loses_no_creation(api: Api, alice: Tenant) -> None:
    """Some creations are at work when the signal comes, and others wait for their turn."""
    body = {"model": BASE_MODEL, "training_file": alice.upload()}
    created: list[str] = []

    def create_until_refused(url: str) -> str:
        """Return the reason of the refusal. Only a new connection may be refused."""
        with httpx.Client(base_url=url, headers=dict(alice.http.headers), timeout=30) as http:
            while True:
                try:
                    created.append(http.post(JOBS, json=body).json()["id"])
                except httpx.TransportError as error:
                    return type(error).__name__

    with stoppable_api(api.settings) as other, ThreadPoolExecutor(CLIENTS) as pool, api.sessions() as session:
        clients = [pool.submit(create_until_refused, other.url) for _ in range(CLIENTS)]
        wait_for(lambda: len(created) >= BEFORE)
        session.execute(LOCK)
        wait_for(lambda: session.scalar(WAITING) == AT_ONCE)
        answered = len(created)
        other.process.terminate()
        wait_for(lambda: not other.is_ready)
        session.rollback()
        assert {client.result() for client in clients} == {"ConnectError"}
        other.process.join(stop_times.API)
        assert other.process.exitcode == -SIGTERM  # uvicorn raises the signal again when it has stopped
    assert len(created) >= answered + CLIENTS - 1
    shown = {job["id"] for job in alice.http.get(JOBS, params={"limit": 1000}).json()["data"]}
    assert set(created) <= shown
