"""The trial whether jobs may be computed at once."""

from pathlib import Path

import torch

from tests.fixtures.engine.architectures import TINY
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.lanes import Lanes


def test_it_can_begin_in_a_pass_without_gradient(tiny_folder: Path) -> None:
    base = ResidentBase(TINY, tiny_folder, "", torch.device("cpu"))
    base.lanes = Lanes(1)  # the trial runs in the caller's thread
    with torch.no_grad():
        assert base.joins_jobs
