"""Fixtures of all tests: real servers, a real API on them, a shell. Nothing starts before a test asks."""

import os
import signal

# Two processes of tests, and the trainers that they start, share the machine's cores: threads that wait for
# each other across them cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever starts the tests in the background may have it ignored, and what they start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = (
    "tests.fixtures.servers",
    "tests.fixtures.api",
    "tests.fixtures.stack",
    "tests.fixtures.shell",
    "tests.fixtures.endpoint",
    "tests.fixtures.receiver",
)
