"""aLoRA: an adapter acts from the last invocation in each row on; rows share what it does not change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.variants import calculate_alora_offsets
from transformers import AutoModelForCausalLM, PretrainedConfig

from core.errors import JobError
from core.estimates.memory_plan import Recompute
from core.jobs.spec import Hyperparameters, TrainingOptions
from core.methods.low_rank import LoraAdapter
from core.objectives.dpo import Dpo
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.objectives import assert_a_round_gives, by_the_paper
from tests.fixtures.engine.rows import INVOCATION, invoked_rows, make_rows
from tests.fixtures.engine.training import (
    IN_A_PIECE,
    MAX_TOKENS,
    gradient_of_a_step,
    make_spec,
    make_trainee,
    peft_loss,
    peft_parameters,
    randomize,
    train,
)
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.joining import joined
from worker.engine.batch.pack import pack
from worker.engine.decoders.portable import row_axes
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import Trainee

pytestmark = [pytest.mark.slow, pytest.mark.family(6)]

INVOKED = LoraAdapter(r=4, lora_alpha=8, alora_invocation_tokens=list(INVOCATION))
EIGHT = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
BASES = {
    "llama": FAST["llama"],
    "qwen 2, biases": FAST["qwen 2, biases"],
    "granite, portable": PORTABLE["granite, scaled logits"],
    "phi 3, row by row": PLAIN["phi 3, a rotation by the longest row"],
}


class Invoking:
    """PEFT's model as PEFT's class for causal models calls it: with the places where the adapter begins."""

    def __init__(self, model: Any) -> None:
        self._model, self.disable_adapter = model, model.disable_adapter

    def __call__(self, input_ids: torch.Tensor) -> Any:
        offsets = calculate_alora_offsets(self._model.peft_config, "default", input_ids)
        return self._model(input_ids=input_ids, alora_offsets=offsets)


def job(base: ResidentBase, name: str = "job", adapter: LoraAdapter = INVOKED) -> Trainee:
    return make_trainee(base, name, make_spec(hyperparameters=EIGHT, adapter=adapter), invoked_rows())


def by_peft(source: Path, trainee: Trainee, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Return PEFT's loss of the step, each row by itself, and its gradients by our names."""
    trainee.adapter.save(folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), folder, is_trainable=True)
    loss = peft_loss(model, trainee.next_rows)
    loss.backward()
    return loss.item(), {name: each.grad for name, each in peft_parameters(model, trainee).items()}


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
@pytest.mark.parametrize("max_tokens", [MAX_TOKENS, IN_A_PIECE])
@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.LAYERS])
def test_loss_and_gradient_are_those_of_peft_row_by_row(
    make: Callable[[], PretrainedConfig], max_tokens: int, recompute: Recompute, tmp_path: Path
) -> None:
    save_model(make(), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    trainee = job(base)
    randomize(trainee.adapter)
    expected, expected_gradients = by_peft(tmp_path, trainee, tmp_path / "adapter")
    context = PassContext(base, max_tokens, recompute=recompute)
    result, gradient = gradient_of_a_step(trainee, lambda: train_round(context, [trainee]))
    assert result.loss == pytest.approx(expected, rel=1e-5)
    for name, found in trainee.adapter.parameters.named(gradient).items():
        torch.testing.assert_close(found, expected_gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_where_the_adapter_acts_matters(base: ResidentBase) -> None:
    """Otherwise the tests here would pass with an adapter that acts everywhere."""
    losses = set()
    for adapter in (INVOKED, INVOKED.model_copy(update={"alora_invocation_tokens": None})):
        trainee = job(base, adapter=adapter)
        randomize(trainee.adapter)
        losses.add(train(base, [trainee], 1)["job"][0])
    low, high = sorted(losses)
    assert high - low > 1e-3


def test_rows_share_a_beginning_only_as_far_as_the_adapter_acts_alike(base: ResidentBase) -> None:
    rows = invoked_rows()
    (batch,) = pack([JobRows("job", rows, 1.0)], 10_000, base.device)
    assert batch.acting_T is not None
    assert len(batch.tokens_T) < sum(len(row.tokens_L) for row in rows) - 80, "nothing is shared"
    found = sorted(
        (batch.tokens_T[axis_L].tolist(), batch.acting_T[axis_L].tolist())
        for _, axis_L in row_axes(batch.segments, base.device)
    )
    expected = sorted(
        (row.tokens_L.tolist(), [n >= row.acts_from for n in range(len(row.tokens_L))]) for row in rows
    )
    assert found == expected


def test_a_job_beside_others_has_the_losses_that_it_has_alone(base: ResidentBase) -> None:
    alone, beside = job(base, "alone"), job(base, "beside")
    losses = train(base, [alone], 2, IN_A_PIECE)["alone"]
    others = [
        make_trainee(base, "plain", make_spec(adapter=LoraAdapter(r=2)), make_rows(12, 3)),
        job(base, "of all tokens", LoraAdapter(r=3)),
    ]
    assert train(base, [others[0], beside, others[1]], 2, IN_A_PIECE)["beside"] == pytest.approx(
        losses, rel=1e-4
    )


def test_a_resumed_job_ends_with_the_same_adapter_to_the_bit(base: ResidentBase) -> None:
    undisturbed, killed, resumed = (job(base, name) for name in ("undisturbed", "killed", "resumed"))
    train(base, [undisturbed], 2)
    train(base, [killed], 1)
    resumed.restore(1, {name: part.clone() for name, part in killed.state().items()})
    train(base, [resumed], 1)
    assert torch.equal(resumed.adapter.parameters.master, undisturbed.adapter.parameters.master)


def test_rows_of_several_jobs_that_are_joined_keep_where_their_adapters_act(base: ResidentBase) -> None:
    invoked, plain = (
        next(iter(pack([JobRows(name, rows, 1.0)], 10_000, base.device)))
        for name, rows in {"invoked": invoked_rows(), "plain": make_rows(3, 0)}.items()
    )
    both = joined([plain, invoked])
    assert both.acting_T is not None
    assert invoked.acting_T is not None
    assert torch.equal(both.acting_T[both.adapter_tokens["invoked"]], invoked.acting_T)
    assert bool(both.acting_T[both.adapter_tokens["plain"]].all())
    assert joined([plain]).acting_T is None


def test_a_preference_is_judged_where_the_adapter_acts(base: ResidentBase) -> None:
    """The reference is the base model, which has no invocation."""
    spec = make_spec(hyperparameters=EIGHT, adapter=INVOKED, objective=Dpo(beta=0.3))
    trainee = make_trainee(base, "job", spec, invoked_rows())
    randomize(trainee.adapter)
    expected, metrics = by_the_paper(Dpo(beta=0.3), Invoking(trainee.adapter.plain_model), trainee.next_rows)
    result = assert_a_round_gives(base, trainee, expected)
    assert {name: result.metrics[name] for name in metrics} == pytest.approx(metrics, rel=1e-4, abs=1e-5)


def test_the_same_bits_come_out_beside_any_neighbour_if_the_job_is_deterministic(base: ResidentBase) -> None:
    spec = make_spec(adapter=INVOKED, training=TrainingOptions(learning_rate=1e-2, deterministic=True))
    masters = []
    for others in ([], [make_trainee(base, "other", make_spec(adapter=LoraAdapter(r=2)), make_rows(12, 3))]):
        trainee = make_trainee(base, "job", spec, invoked_rows())
        train(base, [*others, trainee], 2, IN_A_PIECE)
        masters.append(trainee.adapter.parameters.master)
    assert torch.equal(*masters)


def test_a_token_that_the_model_lacks_is_refused(base: ResidentBase) -> None:
    adapter = LoraAdapter(alora_invocation_tokens=[5, 300])
    with pytest.raises(JobError, match="Token 300 is not in this base model") as raised:
        TrainableAdapter(base, "job", adapter, 0)
    assert raised.value.param == "adapter.alora_invocation_tokens"
