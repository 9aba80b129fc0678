"""An object store that hangs holds up those who wait for it, and nobody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from api.admission.fair_share import AT_ONCE
from api.admission.store_threads import READING_THREADS
from core.storage.object_store import ObjectStore
from tests.fixtures.clients.slow import HangingStore, hanging_store
from tests.fixtures.service.api import Api, Tenant, wait_for

PROJECTS = 23
WAITING = PROJECTS * AT_ONCE  # more than the threads that endpoints share, and than the database connections
SIZE = 1_000_000
BEGINNING = f"HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n".encode() + bytes(SIZE // 3)


def others_are_answered(api: Api, other: Tenant, stranger: Tenant) -> bool:
    """Return whether a known key, a new key, a sign-in and /healthz are answered meanwhile."""
    answers = [
        other.http.get(f"{api.url}/v1/models", timeout=15),
        httpx.get(f"{api.url}/v1/models", headers={"authorization": f"Bearer {stranger.key}"}, timeout=15),
        httpx.post(
            f"{api.url}/v1/sign_in",
            json={"api_key": stranger.key},
            headers={"x-tunery-dashboard": "1"},
            timeout=15,
        ),
        httpx.get(f"{api.url}/healthz", timeout=15),
    ]
    return all(answer.is_success for answer in answers)


@contextmanager
def lame_api(api: Api, first: bytes = b"") -> Iterator[tuple[Api, HangingStore]]:
    """Yield the API on a store that hangs after `first`, and the store."""
    with hanging_store(first) as store, api.beside(s3_endpoint_url=store.url) as lame:
        # It gives a broken connection up at once, so that the tests end soon
        lame.app.state.store = ObjectStore(store.url, api.settings.server("s3_bucket"), retries=1)
        yield lame, store
        store.close()


@pytest.mark.family(1)
@pytest.mark.parametrize("first", [b"", BEGINNING], ids=["downloads", "downloads that have begun"])
@pytest.mark.exhaustive
def test_requests_that_wait_for_the_store_take_neither_threads_nor_connections_from_others(
    api: Api, bob: Tenant, first: bytes
) -> None:
    tenants = [api.tenant() for _ in range(PROJECTS)]
    paths = [f"/v1/files/{tenant.upload(bytes(SIZE), purpose='user_data')}" for tenant in tenants]
    with ThreadPoolExecutor(WAITING) as pool, lame_api(api, first) as (lame, store):
        waiting = [
            pool.submit(tenant.http.get, f"{lame.url}{path}/content", timeout=20)
            for tenant, path in zip(tenants, paths, strict=True)
            for _ in range(AT_ONCE)
        ]
        threads = lame.app.state.reading_threads
        wait_for(lambda: threads.statistics().tasks_waiting == WAITING - READING_THREADS)
        assert store.asked
        assert others_are_answered(lame, bob, api.tenant())
        store.close()
        wait_for(lambda: all(each.done() for each in waiting))
