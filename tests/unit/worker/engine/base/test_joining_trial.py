"""The trial whether jobs may be computed at once."""

from pathlib import Path

import torch

from tests.fixtures.engine.architectures import FAST_EXPERTS, TINY
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.lanes import Lanes


def test_it_can_begin_in_a_pass_without_gradient(tiny_folder: Path) -> None:
    base = ResidentBase(TINY, tiny_folder, "", torch.device("cpu"))
    base.lanes = Lanes(1)  # the trial runs in the caller's thread
    with torch.no_grad():
        assert base.joins_jobs


def test_jobs_on_experts_are_not_joined_and_their_axis_is_not_divided(tmp_path: Path) -> None:
    """The rows of an expert's product would depend on the other jobs, and on the lanes."""
    save_model(FAST_EXPERTS["mixtral"](), tmp_path)
    base = ResidentBase(TINY, tmp_path, "", torch.device("cpu"))
    assert base.decoder.path == "fast"
    assert not base.joins_jobs
    assert base.lanes.count == 1
