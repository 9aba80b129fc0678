"""Fixtures of all tests: real servers, a real API on them, a shell. Nothing starts before a test asks."""

import signal

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
