"""A GPU computes while the host goes on, so the host must not ask it for values in the middle of a step.

A tensor on the device `meta` has no values: whoever asks for them gets an error.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import LlamaConfig, LlamaForCausalLM

from tests.fixtures.engine.gpu_kernels import FLEX, UNCOMPILED
from tests.fixtures.engine.rollouts import prompts, reinforcement_spec, sampled
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import make_spec, make_trainee
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.pack import pack
from worker.engine.decoders.fast import Decoder
from worker.engine.kernels import operations
from worker.engine.kernels.projection import LowRank, ProjectionFactors
from worker.engine.parameters.flat import Extent, FlatParameters
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.passes import head_losses
from worker.engine.step.rollouts import StepRollouts
from worker.engine.step.steps import Steps

META = torch.device("meta")
JOBS = {"first": 0.0, "second": 0.1, "third": 0.0}  # with their dropout
CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
)
LOOPS = operations.on_gpu(lambda function: function, has_grouped_products=False)


def factors(decoder: Decoder, dropout: float) -> dict[str, LowRank]:
    """Factors without values, of rank 8, on every group of projections."""
    found = {}
    for name, group in decoder.groups.items():
        outputs, inputs = group.weight.shape
        projection = ProjectionFactors(slice(0, outputs), slice(0, 8), Extent(8 * inputs, (outputs, 8)), 1.0)
        parameters = FlatParameters(torch.zeros(8 * (inputs + outputs), device=META), torch.float32)
        found[name] = LowRank(parameters, Extent(0, (8, inputs)), [projection], dropout=dropout)
    return found


@FLEX
@pytest.mark.parametrize("do", [UNCOMPILED, LOOPS], ids=["grouped products", "loops"])
def test_no_pass_asks_the_device_for_a_value(do: operations.Operations) -> None:
    with META:
        model = LlamaForCausalLM(CONFIG).requires_grad_(False)
    decoder = Decoder(model, do)
    rollouts = StepRollouts.of(reinforcement_spec("gspo"))
    assert rollouts is not None
    rollouts.taken = sampled(prompts(3))
    sampling = rollouts.rows("third", None, apart=False)
    jobs = [
        JobRows("first", shared_rows(), 1.0),
        JobRows("second", shared_rows(), 1.0, dropout_seed=7),
        sampling.as_job,
    ]
    steps = Steps(jobs, {}, [sampling], META)
    adapters = {name: factors(decoder, dropout) for name, dropout in JOBS.items()}
    for batch in pack(jobs, 10_000, META):
        hidden_SD = decoder.hidden(batch, adapters)
        losses = head_losses(hidden_SD, decoder.head_weight, None, batch.labels_S, batch.weights_S)
        losses.weighted_S.backward(steps.factors(batch, losses))
        steps.add(batch, losses)


class Reading(TorchFunctionMode):
    """Counts the calls that wait for a GPU."""

    WAITS = (Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.nonzero, Tensor.__bool__, Tensor.__float__)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += function in self.WAITS
        return function(*args, **(kwargs or {}))


def test_a_round_reads_from_the_device_as_often_for_many_jobs_as_for_one(base: ResidentBase) -> None:
    counts = []
    for jobs in (1, 4):
        trainees = [make_trainee(base, f"job {i}", make_spec(), make_rows(12, i)) for i in range(jobs)]
        with Reading() as reading:
            train_round(PassContext(base, 10_000), trainees)
        counts.append(reading.count)
    assert counts[0] == counts[1]


def test_the_host_knows_the_places_that_it_has_sent() -> None:
    (batch,) = pack([JobRows("job", make_rows(3, 0), 1.0)], 10_000, META)
    (on_cpu,) = pack([JobRows("job", make_rows(3, 0), 1.0)], 10_000, torch.device("cpu"))
    assert isinstance(batch, MicroBatch)
    assert batch.supervised_S.is_meta
    assert torch.equal(batch.supervised_on_host_S, on_cpu.supervised_S)
