"""Runs of evals for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import EvalRuns


@pytest.fixture
def runs(serving: Serving, tmp_path: Path, warm_rendering: None) -> EvalRuns:
    """Return what makes and does runs."""
    return EvalRuns(serving, tmp_path)


@pytest.fixture
def server(serving: Serving) -> Iterator[ServerProcess]:
    """Yield a server for one test: other tests need to be without one."""
    server = serving.start()
    yield server
    server.close()
