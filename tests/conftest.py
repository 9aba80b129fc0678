"""Fixtures of all tests: real servers, a real API on them, a shell. Nothing starts before a test asks."""

import gc
import os
import signal
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog

# A shell with settings of somebody's service, or with keys of a store, changes no test.
for name in [name for name in os.environ if name.startswith(("TUNERY_", "AWS_", "OTEL_"))]:
    del os.environ[name]

# Two processes of tests and the trainers that they start share the machine's cores: more threads would only
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in the trainer: the threads of lanes wait asleep

# llama.cpp is installed for tests, so each job would have its result measured beside the next test.
os.environ["TUNERY_PORTABILITY_AT_PUBLICATION"] = "false"

# A shell that starts the tests in the background ignores SIGINT, and every process below would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The logs of an API in a thread go to the descriptor. By default structlog calls `print`, which keeps no
# reference to `sys.stdout`: Python crashes if the capture of a test replaces `sys.stdout` at that moment.
STDERR = os.fdopen(2, "w", closefd=False)
structlog.configure(logger_factory=structlog.WriteLoggerFactory(STDERR))

pytest.register_assert_rewrite("tests.fixtures")  # the assertions of helpers show their values too

TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-step",
        action="store_true",
        help="let processes die at every step of a request or a job, and vary a job's options in every way",
    )


pytest_plugins = ("tests.fixtures.processes.scheduling",)

FIXTURES = (
    "tests.fixtures.service.servers",
    "tests.fixtures.service.api",
    "tests.fixtures.service.leftovers",
    "tests.fixtures.service.stack",
    "tests.fixtures.service.shell",
    "tests.fixtures.processes.ports",
    "tests.fixtures.processes.warm",
    "tests.fixtures.outside.endpoint",
    "tests.fixtures.faults.disks",
    "tests.fixtures.outside.hub",
    "tests.fixtures.outside.receiver",
    "tests.fixtures.outside.scorer",
    "tests.fixtures.service.serving",
    "tests.fixtures.outside.vllm",
    "tests.fixtures.service.chatting",
    "tests.fixtures.clients.litellm_client",
)


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, but not into the process that hands out tests: their imports take ten seconds."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    gc.disable()  # until all is imported: of what imports make, nothing is garbage
    for name in FIXTURES:
        config.pluginmanager.import_plugin(name)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_some_to_exhaustive(items)
    _give_second_tries(config, items)


def _leave_some_to_exhaustive(items: list[pytest.Item]) -> None:
    """Mark the cases of a family as exhaustive, but for a few that are spread evenly over it."""
    families: dict[tuple[Path, str, int], list[pytest.Item]] = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("family")
        if mark is not None and isinstance(item, pytest.Function):
            families[item.path, item.originalname, mark.args[0]].append(item)
    for (_, _, most), cases in families.items():
        tried = {at * len(cases) // most for at in range(most)}
        for at, case in enumerate(cases):
            if at not in tried:
                case.add_marker(pytest.mark.exhaustive)


def _give_second_tries(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a failed test of whole processes run once more. The report names each test that did.

    Such a test waits for other processes, and on a busy machine one of its deadlines may pass. What is broken
    fails twice. Tests in `tests/unit` get one try, and all tests with `--force-reruns=0`.
    """
    for item in items:
        if item.path.relative_to(TESTS).parts[0] != "unit":
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish() -> None:
    gc.enable()
    keep_out_of_collections()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Do so after each file again: all tests that follow would walk over what it has imported."""
    done = yield
    if nextitem is None or nextitem.path != item.path:
        keep_out_of_collections()
    return done


def keep_out_of_collections() -> None:
    """Leave all that is there now out of later garbage collections, which the engine asks for often.

    A collection that walks over the modules of torch, transformers and every tracker takes a second.
    """
    gc.collect()
    gc.freeze()
