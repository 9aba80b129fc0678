"""Lines of the log, whose values may come from clients."""

import subprocess
import sys

import pytest

FORGED = "/v1/files\n2026-01-01T00:00:00Z [info     ] request   status=200\r\x1b[2J\x9b1A\u202e"

LOG = """
import logging, sys, structlog
from core.process.logs import configure_logs
configure_logs("info", sys.argv[1] == "json")
forged = sys.argv[2]
structlog.get_logger().info("request", path=forged, parts=[forged], name_=type("Name", (str,), {})(forged))
logging.getLogger("library").warning("Invalid path: %s", forged)
try:
    raise ValueError(forged)
except ValueError as error:
    structlog.get_logger().error("broke", exc_info=error)
    structlog.get_logger().error("broke", exception=forged)
    logging.getLogger("library").exception("broke")
"""


def lines_of(form: str) -> list[str]:
    command = [sys.executable, "-c", LOG, form, FORGED]
    written = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    return written.removesuffix("\n").split("\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_neither_forges_a_line_nor_sends_commands_to_a_terminal(form: str) -> None:
    lines = lines_of(form)
    assert [line for line in lines if not line.isprintable()] == []
    entries = [line for line in lines if not line.startswith("    ")]
    assert len(entries) == 5, entries
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert r"\x1b[2J" in entries[0] or r"\u001b[2J" in entries[0]


def test_a_traceback_is_written_whole() -> None:
    text = "\n".join(lines_of("text"))
    assert text.count("Traceback (most recent call last)") == 2
    assert text.count("ValueError: /v1/files") == 2
