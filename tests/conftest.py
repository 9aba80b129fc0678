"""Fixtures of all tests: real servers, a real API on them, a shell. Nothing starts before a test asks."""

import gc
import os
import signal

import pytest

# Two processes of tests and the trainers that they start share the machine's cores: more threads would only
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background ignores SIGINT, and every process below would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.fixtures")  # the assertions of helpers show their values too

pytest_plugins = (
    "tests.fixtures.servers",
    "tests.fixtures.api",
    "tests.fixtures.stack",
    "tests.fixtures.shell",
    "tests.fixtures.ports",
    "tests.fixtures.endpoint",
    "tests.fixtures.receiver",
)


def pytest_collection_finish() -> None:
    """Keep all that is imported now out of later garbage collections, which the engine asks for often.

    A collection that walks over the modules of torch, transformers and every tracker takes a second.
    """
    gc.collect()
    gc.freeze()
