"""The losses of a head."""

import pytest
import torch

from worker.engine.decoders.head import head_losses
from worker.engine.kernels.frozen_weight import DenseWeight


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("trained", [False, True])
def test_a_lane_without_labels_has_no_losses(softcap: float | None, trained: bool) -> None:
    hidden_SD = torch.zeros(0, 8, requires_grad=True)
    head_VD = torch.randn(20, 8).requires_grad_(trained)
    found = head_losses(
        hidden_SD, DenseWeight(head_VD), softcap, torch.zeros(0, dtype=torch.long), torch.zeros(0)
    )
    assert found.weighted_S.shape == found.nll_S.shape == found.correct_S.shape == (0,)
    found.weighted_S.backward(torch.zeros(0))
    assert hidden_SD.grad is not None
