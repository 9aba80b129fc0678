"""Runs of evals for the tests of this folder."""

from pathlib import Path

import pytest

from tests.fixtures.evals import EvalRuns
from tests.fixtures.serving import Serving
from tests.fixtures.warm import nursery


@pytest.fixture
def runs(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalRuns:
    """Return what makes and does runs. The process that renders starts with its imports done."""
    monkeypatch.setattr("worker.data.renderer.subprocess", nursery().subprocess)
    return EvalRuns(serving, tmp_path)
