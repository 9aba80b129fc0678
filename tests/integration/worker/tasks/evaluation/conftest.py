"""Runs of evals for the tests of this folder."""

from pathlib import Path

import pytest

from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.serving import Serving
from tests.fixtures.work.evals import EvalRuns


@pytest.fixture
def runs(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalRuns:
    """Return what makes and does runs. The process that renders starts with its imports done."""
    monkeypatch.setattr("worker.rendering.renderer.subprocess", nursery().subprocess)
    return EvalRuns(serving, tmp_path)
