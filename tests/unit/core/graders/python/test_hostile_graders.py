"""Code that tries to leave its sandbox, to take too much, or to answer with something else than a score."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.graders.python.sandbox import GraderFailed, Runner, Sandbox
from tests.fixtures.processes.processes import names
from tests.fixtures.work.hostile_graders import (
    ANSWERS,
    NETWORK,
    READING,
    SECRET_START,
    SECRET_VARIABLE,
    SECRETS,
    TAKING,
    WRITING,
    forging,
    source,
)
from tests.fixtures.work.sandboxes import ONE, RUNNERS, graded, sandbox_of

pytestmark = [pytest.mark.slow, pytest.mark.family(10)]

HERE = Path(__file__).parents[5]
SECRET = f"{SECRET_START}ofthetest"


@pytest.fixture(params=RUNNERS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    runner: Runner = request.param
    return sandbox_of(runner, seconds=1.0)


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Yield what the code may aim at: a file, a place to write, this process, and its port."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        yield {"file": str(file), "target": str(tmp_path / "x"), "process": os.getpid(), "port": port}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sorted(tmp_path.iterdir()) == [file]
    assert file.read_text() == SECRET


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def got(sandbox: Sandbox, code: str, item: Any) -> float | str:
    """Return the score, or how the code failed. Nothing of it may be left then, and others are graded."""
    began, before = time.monotonic(), _children()
    found: float | str
    try:
        found = graded(sandbox, code, "", item)
    except GraderFailed as error:
        found = str(error)
        assert SECRET not in found
        assert str(HERE) not in found
        assert len(found) < 600
    assert time.monotonic() - began < sandbox.seconds + 8
    assert graded(sandbox, ONE) == 1
    assert set(names(_children() - before)) <= {"monty"}
    return found


def boolean(body: str) -> str:
    """Return a source that returns its answer as a number, since most hostile ones answer yes or no."""
    attempt = source(body).replace("def grade(", "def attempt(")
    return f"{attempt}\n\n{source('return float(attempt(sample, item))')}"


@pytest.mark.parametrize("body", READING.values(), ids=READING)
def test_no_file_of_the_machine_can_be_read(sandbox: Sandbox, item: dict[str, Any], body: str) -> None:
    assert got(sandbox, boolean(body), item) != 1


@pytest.mark.parametrize("body", SECRETS.values(), ids=SECRETS)
def test_no_secret_of_the_process_can_be_read(sandbox: Sandbox, item: dict[str, Any], body: str) -> None:
    assert got(sandbox, boolean(body), item) != 1


@pytest.mark.parametrize("body", WRITING.values(), ids=WRITING)
def test_nothing_can_be_written_started_or_killed(sandbox: Sandbox, item: dict[str, Any], body: str) -> None:
    assert got(sandbox, boolean(body), item) != 1


@pytest.mark.parametrize("body", NETWORK.values(), ids=NETWORK)
def test_there_is_no_network(sandbox: Sandbox, item: dict[str, Any], body: str) -> None:
    assert got(sandbox, boolean(body), item) != 1


@pytest.mark.parametrize("body", TAKING.values(), ids=TAKING)
def test_what_takes_too_much_fails_its_sample_alone(
    sandbox: Sandbox, item: dict[str, Any], body: str
) -> None:
    assert isinstance(got(sandbox, source(body), item), str)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_forged_answer_is_no_score(sandbox: Sandbox, item: dict[str, Any], answer: bytes) -> None:
    assert isinstance(got(sandbox, forging(answer), item), str)


@pytest.mark.parametrize(
    "change",
    [
        "import builtins\nbuiltins.len = lambda _: 99",
        "import json\njson.loads = lambda _: [{}, {}]",
        "__builtins__.float = lambda _: 99.0",
        "global grade\ngrade = None",
        "import random\nrandom.random = lambda: 99",
        "import sys\nsys.modules['math'] = None",
        "open('/tmp/left', 'w').write('x')",
        "import os\nos.environ['LEFT'] = 'x'",
        "import os\nos.mkdir('left')",
        "seen.append(1)",
    ],
)
def test_nothing_is_left_for_the_next_sample(sandbox: Sandbox, change: str) -> None:
    looks = """
import math, os
seen.append(1)
assert len("abc") == 3 and float("2") == 2.0 and len(seen) == 1 and math.pi > 3
return 1"""
    if sandbox.runner == "bubblewrap":
        looks = looks.replace("return 1", "assert os.listdir('/tmp') == [] and not os.environ\nreturn 1")
    for _ in range(2):
        try:
            graded(sandbox, f"seen = []\n{source(change + chr(10) + 'return 1')}")
        except GraderFailed:
            assert sandbox.runner == "monty"
        assert graded(sandbox, f"seen = []\n{source(looks)}") == 1
