"""Fixtures of all tests: the real servers, and a real API on them. Nothing starts before a test asks."""

pytest_plugins = ("tests.fixtures.servers", "tests.fixtures.api", "tests.fixtures.stack")
