"""A store that does not answer holds a client no longer than was meant for its kind of request."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from core.settings import Settings
from core.storage.object_store import STORE_ERRORS
from worker.server.stored import FOR_ANSWERS, FOR_FILES, Patience, open_store

WAIT = 0.2  # seconds for each try


class SilentStore:
    """A store that takes requests and never answers. It counts them."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.asked: list[socket.socket] = []
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                self.asked.append(self._server.accept()[0])

    def close(self) -> None:
        self._server.close()
        for each in self.asked:
            each.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentStore]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    store = SilentStore()
    yield store
    store.close()


@pytest.mark.parametrize(
    ("patience", "most"), [(FOR_ANSWERS, 20.0), (FOR_FILES, 90.0)], ids=["answers", "files"]
)
def test_a_silent_store_is_waited_for_no_longer_than_the_tries_say(
    silent: SilentStore, patience: Patience, most: float
) -> None:
    settings = Settings(s3_endpoint_url=silent.url, s3_bucket="none")
    store = open_store(settings, patience._replace(timeout=WAIT))
    began = time.monotonic()
    with pytest.raises(STORE_ERRORS):
        b"".join(store.read("any"))
    assert time.monotonic() - began >= len(silent.asked) * WAIT
    assert len(silent.asked) * patience.timeout == most
