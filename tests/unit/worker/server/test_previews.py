"""A preview is bounded in time, and ends when its client is gone."""

import time
from collections.abc import Iterator
from itertools import repeat
from multiprocessing import Pipe
from threading import Event, Timer

import psutil
import pytest

from core.errors import InvalidRequest
from tests.fixtures.service.api import wait_for
from worker.rendering.render_request import FindRequest
from worker.rendering.renderer import Renderer
from worker.server.previews import _look
from worker.server.row_finding import find_rows
from worker.server.threads import Until

ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
FAR = FindRequest(numbers=(2**31 - 1,), kind="chat", most_bytes=2**50, most_row_bytes=1024)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    found = Renderer()
    yield found
    found.close()


def find(renderer: Renderer, chunk: bytes, until: Until) -> None:
    """Look for a row of a file that does not end."""
    find_rows(renderer, repeat(chunk), FAR, until)


def grandchildren() -> set[psutil.Process]:
    """Return the children of render processes, and of what other tests may have left."""
    return {each for child in psutil.Process().children() for each in child.children()}


@pytest.mark.parametrize("chunk", [ROW * 100, b"\n" * 65536], ids=["rows", "blank lines"])
def test_a_line_far_back_is_refused_after_some_time(renderer: Renderer, chunk: bytes) -> None:
    before = grandchildren()
    with pytest.raises(InvalidRequest, match="Ask for earlier rows") as refused:
        find(renderer, chunk, Until(0.2))
    assert refused.value.code == "line_too_far"
    wait_for(lambda: grandchildren() <= before)


def test_reading_ends_soon_when_the_client_is_gone(renderer: Renderer) -> None:
    gone, before = Event(), grandchildren()
    Timer(0.1, gone.set).start()
    began = time.monotonic()
    with pytest.raises(InvalidRequest):
        find(renderer, ROW * 100, Until(600, gone=gone))
    assert time.monotonic() - began < 60
    wait_for(lambda: grandchildren() <= before)


def test_a_row_that_takes_too_long_to_render_says_so() -> None:
    ours, its = Pipe()
    with ours, its:
        row = _look(ours, 7, Until(0.1))
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
