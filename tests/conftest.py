"""Fixtures of all tests: real servers, a real API on them, a shell. Nothing starts before a test asks."""

pytest_plugins = (
    "tests.fixtures.servers",
    "tests.fixtures.api",
    "tests.fixtures.stack",
    "tests.fixtures.shell",
    "tests.fixtures.endpoint",
    "tests.fixtures.receiver",
)
