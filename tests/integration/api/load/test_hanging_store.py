"""An object store that hangs holds up those who wait for it, and nobody else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from api.admission import fair_share
from api.admission.store_threads import READING_THREADS
from core.storage.object_store import ObjectStore
from tests.fixtures.clients.slow import HangingStore, hanging_store
from tests.fixtures.service.api import Api, Tenant, wait_for

WAITING = 45  # more than the threads that endpoints share, and more than the database connections
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
    with hanging_store(first) as store, api.broken(s3_endpoint_url=store.url) as lame:
        yield lame, store
        store.close()


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the API give a broken connection up at once, so that the tests end soon."""
    monkeypatch.setattr("api.app.ObjectStore", partial(ObjectStore, retries=1))


@pytest.fixture
def many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one project stand for many: it has the turns of all of them."""
    monkeypatch.setattr(fair_share, "AT_ONCE", WAITING)
    monkeypatch.setattr(fair_share, "READS_ALONE", 0.0)


ASKED: dict[str, tuple[bytes, Callable[[httpx.Client, str], httpx.Response]]] = {
    "downloads": (b"", lambda http, path: http.get(f"{path}/content")),
    "downloads that have begun": (BEGINNING, lambda http, path: http.get(f"{path}/content")),
}


@pytest.mark.usefixtures("many_turns")
@pytest.mark.parametrize("what", ASKED)
def test_requests_that_wait_for_the_store_take_neither_threads_nor_connections_from_others(
    api: Api, alice: Tenant, bob: Tenant, what: str
) -> None:
    first, ask = ASKED[what]
    path = f"/v1/files/{alice.upload(bytes(SIZE), purpose='user_data')}"
    headers, limits = dict(alice.http.headers), httpx.Limits(max_connections=WAITING)
    with (
        ThreadPoolExecutor(WAITING) as pool,
        lame_api(api, first) as (lame, store),
        httpx.Client(base_url=lame.url, headers=headers, timeout=20, limits=limits) as http,
    ):
        waiting = [pool.submit(ask, http, path) for _ in range(WAITING)]
        threads = lame.app.state.reading_threads
        wait_for(lambda: threads.statistics().tasks_waiting == WAITING - READING_THREADS)
        assert store.asked
        assert others_are_answered(lame, bob, api.tenant())
        store.close()
        wait_for(lambda: all(each.done() for each in waiting))
