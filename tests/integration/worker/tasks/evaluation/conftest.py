"""Runs of evals for the tests of this folder."""

from pathlib import Path

import pytest

from tests.fixtures.service.serving import Serving
from tests.fixtures.work.evals import EvalRuns


@pytest.fixture
def runs(serving: Serving, tmp_path: Path, warm_rendering: None) -> EvalRuns:
    """Return what makes and does runs."""
    return EvalRuns(serving, tmp_path)
