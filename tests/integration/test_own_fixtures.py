"""What the tests themselves promise: a failure is told whole, and harms no other test."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.fixtures.paths import REPOSITORY


def output_of(arguments: list[str], **variables: str) -> str:
    """Run Python with these variables more, and return what it prints."""
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return run.stdout + run.stderr


DEATH = """
import psutil, pytest, redis

def ping(servers):
    redis.Redis.from_url(servers.urls["broker_url"]).ping()

@pytest.mark.flaky(reruns=1)
def test_in_which_it_dies(servers):
    (valkey,) = [each for each in psutil.Process().children() if each.name() == "valkey-server"]
    valkey.kill()
    ping(servers)

def test_afterwards(servers):
    ping(servers)

def test_that_kills_it(servers):
    servers.kill("valkey")
"""


RERUN = """
import pytest

@pytest.mark.flaky(reruns=1)
def test_twice(tries=[]):
    tries.append("a try")
    assert len(tries) == 2, "the text of the first failure"
"""


LEFTOVERS = """
import pytest
from core.database import create_database, session_factory
from core.datasets.checks.requests import CheckRequest
from core.work import lease as leases
from core.work.client import create
from core.work.kinds import CHECK
from tests.fixtures.service.jobs import Jobs

@pytest.fixture(scope="module")
def jobs(database_url):
    return Jobs(session_factory(create_database(database_url)))

@pytest.fixture(scope="module")
def shared(jobs):
    return jobs.submit()

@pytest.mark.flaky(reruns=1)
def test_that_leaves_a_job_and_a_task(jobs, shared):
    jobs.submit()
    with jobs.sessions.begin() as session:
        create(session, jobs.new_project(), CHECK, CheckRequest(), 1)
    assert False

def test_that_takes_what_is_next(jobs, shared):
    assert jobs.claim().job_id == shared
    assert jobs.try_to_claim() is None
    with jobs.sessions.begin() as session:
        assert leases.take(session, "a process") is None
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run these tests with the servers and the options of all tests, and return what pytest prints."""
    folder = tmp_path_factory.mktemp("these")
    for name, tests in {"death": DEATH, "rerun": RERUN, "leftovers": LEFTOVERS}.items():
        (folder / f"test_{name}.py").write_text(tests)
    plugins = [f"-ptests.fixtures.service.{name}" for name in ("servers", "api", "leftovers")]
    options = ["-c", str(REPOSITORY / "pyproject.toml"), *plugins, "-p", "no:cacheprovider", "-rA"]
    return output_of(["-m", "pytest", *options, str(folder)])


def outcomes(said: str, file: str) -> Counter[str]:
    """Count the tests of a file by what pytest's summary says of each; it may say the same twice."""
    lines = re.findall(rf"^([A-Z]+) test_{file}\.py::(\w+)", said, re.MULTILINE)
    return Counter(outcome for outcome, _ in set(lines))


@pytest.mark.exhaustive
def test_a_shared_server_that_dies_fails_one_test_which_names_it(said: str) -> None:
    assert "The shared server valkey died in this test (killed by SIGKILL). Its log ends:" in said
    assert "FAILED test_death.py::test_in_which_it_dies" in said
    assert "PASSED test_death.py::test_afterwards" in said, "the next test has its server"
    assert "ERROR test_death.py::test_in_which_it_dies" in said
    assert outcomes(said, "death") == {"FAILED": 2, "PASSED": 1, "ERROR": 1}, "no second try"
    assert "AssertionError: Other tests need this valkey. Kill one of `own_servers`." in said


def test_the_summary_keeps_the_first_failure_of_a_test_that_ran_again(said: str) -> None:
    assert outcomes(said, "rerun") == {"PASSED": 1, "RERUN": 1}
    assert "AssertionError: the text of the first failure" in said


def test_what_a_failed_test_leaves_in_the_queue_is_taken_by_no_other(said: str) -> None:
    assert outcomes(said, "leftovers") == {"FAILED": 1, "RERUN": 1, "PASSED": 1}, said
    assert "PASSED test_leftovers.py::test_that_takes_what_is_next" in said, said


def test_no_test_sees_the_settings_of_the_shell() -> None:
    program = "import os, tests.conftest; print(os.environ.keys() & {'TUNERY_PORT', 'AWS_ACCESS_KEY_ID'})"
    assert output_of(["-c", program], TUNERY_PORT="1", AWS_ACCESS_KEY_ID="wrong") == "set()\n"
