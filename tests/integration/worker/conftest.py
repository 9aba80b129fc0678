"""Fixtures of the tests of a worker's parts on real servers."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Collect no cycles of objects during the test."""
    gc.disable()
    yield
    gc.enable()
