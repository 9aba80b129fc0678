"""What the backward pass computes again changes memory and time, and no gradient by a bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.estimates.memory_plan import Recompute
from core.jobs.spec import Hyperparameters, LoraAdapter
from core.methods.low_rank import AdaLoraAdapter, LowRankAdapter
from core.methods.whole import FullTuning
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, STATES, TINY
from tests.fixtures.engine.gpu_kernels import FLEX, UNCOMPILED
from tests.fixtures.engine.methods import move, spec_of, trainee_of
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import (
    IN_A_PIECE,
    MAX_TOKENS,
    gradient_of_a_step,
    make_spec,
    make_trainee,
    randomize,
    train,
)
from tests.fixtures.engine.twins import relative_difference
from tests.fixtures.models.tiny import save_model
from worker.engine.base import loading
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.lanes import Lanes
from worker.engine.decoders.fast import Decoder
from worker.engine.kernels import attention
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import Trainee

pytestmark = pytest.mark.family(2)

CPU = torch.device("cpu")
EIGHT = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
ADAPTERS = {
    "lora of some": LoraAdapter(r=4, target_modules=["q_proj", "layers.1.mlp.down_proj"]),
    "dora dropout": LoraAdapter(r=4, lora_alpha=8, use_dora=True, lora_dropout=0.3),
    "adalora dropout": AdaLoraAdapter(init_r=6, target_r=2, lora_alpha=8, lora_dropout=0.3),
}
WAYS = [Recompute.GATE_UP, Recompute.LAYERS, Recompute.LAYERS_FROM_HOST]
each_way = pytest.mark.parametrize("recompute", WAYS)


def step(
    base: ResidentBase, trainee: Trainee, recompute: Recompute, max_tokens: int = MAX_TOKENS
) -> tuple[float, Tensor]:
    """Return loss and gradient of a step that is not made."""
    context = PassContext(base, max_tokens, recompute=recompute)
    result, gradient = gradient_of_a_step(trainee, lambda: train_round(context, [trainee]))
    trainee.forget_gradient()
    return result.loss, gradient


def assert_nothing_changes(base: ResidentBase, trainee: Trainee, max_tokens: int = MAX_TOKENS) -> None:
    loss, gradient = step(base, trainee, Recompute.NONE, max_tokens)
    assert gradient.norm() > 0
    for recompute in WAYS:
        again, gradient_again = step(base, trainee, recompute, max_tokens)
        assert again == loss
        assert torch.equal(gradient_again, gradient), recompute


def random_trainee(base: ResidentBase, adapter: LowRankAdapter) -> Trainee:
    spec = make_spec(hyperparameters=EIGHT, adapter=adapter)
    trainee = make_trainee(base, "job", spec, shared_rows())
    randomize(trainee.adapter)
    return trainee


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("lanes", [1, 2])
def test_gradients_are_the_same_to_the_bit_in_lanes_and_with_shared_beginnings(
    base: ResidentBase, adapter: LowRankAdapter, lanes: int
) -> None:
    base.lanes = Lanes(lanes)
    assert_nothing_changes(base, random_trainee(base, adapter))


def test_gradients_are_the_same_where_attention_saves_no_probabilities(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SAVED_KEYS", 0)
    assert_nothing_changes(base, random_trainee(base, LoraAdapter(r=4)))


@FLEX
def test_gradients_are_the_same_with_a_gpu_s_kernels(changeable_base: ResidentBase) -> None:
    base = changeable_base
    base.decoder, base.lanes = Decoder(base.model, UNCOMPILED), Lanes(1)
    trainee = make_trainee(base, "job", make_spec(adapter=LoraAdapter(r=4)), shared_rows())
    randomize(trainee.adapter)
    assert_nothing_changes(base, trainee, max_tokens=IN_A_PIECE)


def test_gradients_are_the_same_to_rounding_where_kept_values_wait_in_bf16(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer's input is rounded while it waits, so that what follows from it differs a little."""
    monkeypatch.setattr(loading, "compute_dtype", lambda _device: torch.float32)
    base = ResidentBase(TINY.model_copy(update={"dtype": "auto"}), tiny_folder, "", CPU)
    trainee = random_trainee(base, LoraAdapter(r=4))
    base.lanes = Lanes(1)
    exact = step(base, trainee, Recompute.NONE)[1]
    for recompute in WAYS:
        assert 0 < relative_difference(step(base, trainee, recompute)[1], exact) < 1e-2


OTHERS = {
    "granite": PORTABLE["granite, scaled logits"],
    "gemma 2": PORTABLE["gemma 2, capped scores and logits"],
    "gpt-oss": FAST["gpt-oss, sinks and experts"],
    "lfm 2, convolutions": PORTABLE["lfm 2, short convolutions"],
    "phi 3, row by row": PLAIN["phi 3, a rotation by the longest row"],
    "qwen 3.5": PORTABLE["qwen 3.5, delta rule"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_gradients_are_the_same_through_transformers_modules(name: str, tmp_path: Path) -> None:
    save_model(OTHERS[name](), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, CPU)
    modules = [(module, *vars(module)) for module in base.model.modules()]
    spec = LoraAdapter(r=4, lora_dropout=0.3, target_parameters=[])  # experts have no dropout
    assert_nothing_changes(base, random_trainee(base, spec))
    assert [(module, *vars(module)) for module in base.model.modules()] == modules


@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize(
    "name",
    [
        *("qwen 3, norms of queries", "gemma 3, windows in some layers", "olmo 2, norms behind"),
        *("gemma 2, caps, and windows in some layers", "gemma 4, shared keys and inputs of layers"),
    ],
)
def test_gradients_are_the_same_on_other_fast_architectures(
    name: str, quantization: str | None, tmp_path: Path
) -> None:
    save_model(FAST[name](), tmp_path)
    base = ResidentBase(TINY.model_copy(update={"quantization": quantization}), tmp_path, "0" * 64, CPU)
    assert_nothing_changes(base, random_trainee(base, LoraAdapter(r=4, lora_dropout=0.3)))


@pytest.mark.parametrize("case", ["loha", "prompt_tuning", "prefix_tuning", "full"])
def test_gradients_are_the_same_with_modules_of_a_job_s_own(base: ResidentBase, case: str) -> None:
    full = make_spec(adapter=FullTuning(), hyperparameters=EIGHT)
    spec = full if case == "full" else spec_of(case, hyperparameters=EIGHT)
    trainee = trainee_of(base, spec, shared_rows())
    move(trainee)
    assert_nothing_changes(base, trainee)


@each_way
def test_a_resumed_job_ends_with_the_same_adapter_to_the_bit(
    base: ResidentBase, tmp_path: Path, recompute: Recompute
) -> None:
    spec = make_spec(adapter=ADAPTERS["dora dropout"])
    whole, first_half, resumed = (make_trainee(base, name, spec, make_rows(12, 0)) for name in "abc")

    def train(trainee: Trainee, recompute: Recompute, rounds: int) -> None:
        for _ in range(rounds):
            train_round(PassContext(base, MAX_TOKENS, recompute=recompute), [trainee])

    train(whole, Recompute.NONE, 4)
    train(first_half, recompute, 2)
    save_file(first_half.state(), tmp_path / "state")
    resumed.restore(2, load_file(tmp_path / "state"))
    train(resumed, recompute, 2)
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)


@pytest.mark.parametrize("name", ["lfm 2, short convolutions", "qwen 3.5, delta rule", "granite 4 moe"])
def test_a_job_through_states_that_is_resumed_ends_with_the_same_adapter_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    save_model(STATES[name](), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, CPU)
    spec = make_spec(adapter=LoraAdapter(r=4, lora_dropout=0.3, target_modules=["q_proj", "out_proj"]))
    whole, first_half, resumed = (make_trainee(base, each, spec, shared_rows()) for each in "abc")
    train(base, [whole], 4)
    train(base, [first_half], 2)
    resumed.restore(2, first_half.state())
    train(base, [resumed], 2)
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", ["fast", "portable"])
def test_less_is_kept_for_the_backward_pass(path: str, tmp_path: Path) -> None:
    """Compare what four layers more add to a step's peak of bytes. Host and device are one memory here."""
    peaks: dict[Recompute, list[int]] = {recompute: [] for recompute in Recompute}
    for layers in (2, 6):
        config = FAST["llama"]() if path == "fast" else PORTABLE["granite, scaled logits"]()
        config.num_hidden_layers, config.layer_types = layers, ["full_attention"] * layers
        save_model(config, tmp_path / str(layers))
        base = ResidentBase(TINY, tmp_path / str(layers), "0" * 64, CPU)
        assert base.decoder.path == path
        base.lanes = Lanes(1)
        trainee = make_trainee(base, "job", make_spec(adapter=LoraAdapter(r=2)), make_rows(12, 0))
        for recompute, found in peaks.items():
            with Allocated() as allocated:
                step(base, trainee, recompute, IN_A_PIECE)
            found.append(allocated.peak)
    none, gate_up, whole, from_host = (large - small for small, large in peaks.values())
    assert gate_up < 0.8 * none
    assert whole < 0.3 * none
    assert from_host < 0.3 * none
