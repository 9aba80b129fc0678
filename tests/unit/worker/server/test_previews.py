"""A preview is bounded in time, and ends when its client is gone."""

import time
from collections.abc import Iterator
from itertools import repeat
from multiprocessing import Pipe
from threading import Event, Timer
from typing import Any, cast

import pytest

from core.errors import InvalidRequest
from core.serving.previews import PreviewOrder
from core.settings import Settings
from worker.server.previews import Until, _answered, _read

ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
ORDER = PreviewOrder(base="m", key="k", bytes=10**9, kind="chat", max_length=64, lines=[2**31 - 1])


class Endless:
    """A store whose file does not end."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk

    def read(self, _key: str) -> Iterator[bytes]:
        return repeat(self.chunk)


@pytest.mark.parametrize("chunk", [ROW * 100, b"\n" * 65536], ids=["rows", "blank lines"])
def test_a_line_far_back_is_refused_after_some_time(chunk: bytes) -> None:
    with pytest.raises(InvalidRequest, match="Ask for earlier rows") as refused:
        _read(cast(Any, Endless(chunk)), ORDER, Settings(), Until(0.2))
    assert refused.value.code == "line_too_far"


def test_reading_ends_soon_when_the_client_is_gone() -> None:
    gone = Event()
    Timer(0.1, gone.set).start()
    began = time.monotonic()
    with pytest.raises(InvalidRequest):
        _read(cast(Any, Endless(ROW * 100)), ORDER, Settings(), Until(600, gone=gone))
    assert time.monotonic() - began < 60


def test_a_row_that_takes_too_long_to_render_says_so() -> None:
    ours, its = Pipe()
    with ours, its:
        row = _answered(ours, 7, Until(0.1))
    assert row.error is not None
    assert (row.line, row.error.code) == (7, "rows_not_rendered")
    assert "Ask for fewer rows" in row.error.message


def test_a_wait_for_rendered_rows_ends_when_the_client_is_gone() -> None:
    gone = Event()
    Timer(0.1, gone.set).start()
    ours, its = Pipe()
    with ours, its:
        began = time.monotonic()
        assert not Until(600, gone=gone).wait(ours)
        assert time.monotonic() - began < 60
