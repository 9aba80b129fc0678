"""The memory that an adapter is expected to take is what it takes."""

import pytest
import torch

from core.jobspec import LoraAdapter
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.memory import projection_shapes, state_bytes


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"], ["model.layers.1.mlp.up_proj"]])
@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 16), (torch.bfloat16, 18)])
def test_the_state_of_an_adapter_is_known_before_it_is_attached(
    base: ResidentBase, targets: str | list[str], dtype: torch.dtype, bytes_each: int
) -> None:
    spec = LoraAdapter.model_validate({"r": 4, "target_modules": targets})
    expected = state_bytes(projection_shapes(base.model), spec, dtype, base.lanes.count)
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    more_gradients = sum(gradient.nbytes for gradient in parameters.gradients[1:])
    assert expected == parameters.master.numel() * bytes_each + more_gradients
