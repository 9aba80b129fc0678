"""One project that floods the API leaves the others their room."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from tests.fixtures.api import BASE_MODEL, Api, Tenant, wait_for

FLOOD = 60  # more than the threads and the database connections of a process

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def test_a_flood_of_slow_requests_takes_no_room_from_another_project(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    body = {"model": BASE_MODEL, "training_file": alice.upload()}
    alice.http.timeout = 60

    def create(_: int) -> int:
        return alice.http.post("/v1/fine_tuning/jobs", json=body).status_code

    with ThreadPoolExecutor(FLOOD) as pool, api.sessions() as session:
        session.execute(text("LOCK TABLE idempotency_records"))  # every creation of Alice's waits for it
        flood = [pool.submit(create, number) for number in range(FLOOD)]
        wait_for(lambda: session.scalar(text(WAITING)))
        quick = bob.http.get("/v1/fine_tuning/jobs", timeout=10).status_code
        assert not any(creation.done() for creation in flood)
        session.rollback()
        assert [creation.result() for creation in flood] == [200] * FLOOD
    assert quick == 200
