"""Base models with experts: what adapters take of them, and that they train as PEFT trains them."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from core.errors import JobError
from core.estimates.adapters import state_bytes
from core.estimates.memory_plan import Recompute
from core.jobs.spec import LoraAdapter
from core.methods.low_rank import AdaLoraAdapter
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY, WITH_EXPERTS, tiny_config
from tests.fixtures.engine.few_bits import rounded_like
from tests.fixtures.engine.rows import shared_rows
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    assert_a_step_is_peft_s,
    gradient_of_a_step,
    make_spec,
    make_trainee,
    randomize,
)
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.attach import attach
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.adapters.shapes import adaptable_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.architecture import UnknownFeature
from worker.engine.decoders.routed_experts import RoutedExperts
from worker.engine.kernels.experts.modules import experts_in
from worker.engine.start.initial_values import initial_values
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(3)]

CPU = torch.device("cpu")
each_family = pytest.mark.parametrize("make", WITH_EXPERTS.values(), ids=WITH_EXPERTS)
QWEN, GPT_OSS, GEMMA = (
    WITH_EXPERTS[name]
    for name in ("qwen 3 moe", "gpt-oss, sinks and experts", "gemma 4, experts beside the MLP")
)
JET_MOE = tiny_config("JetMoe", num_local_experts=4, num_experts_per_tok=2, kv_channels=16)
"""A family whose experts the engine does not compute"""
MARGIN = 1e-5  # between the scores of the last expert that is taken and of the next; rounding is far below


def load(make: Callable[[], PretrainedConfig], folder: Path, **catalog: Any) -> ResidentBase:
    save_model(make(), folder)
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, CPU)


def rows() -> list[Row]:
    """Return rows without the padding token: a router scores all experts of its empty embedding alike."""
    return [replace(row, tokens_L=row.tokens_L.clip(3)) for row in shared_rows()]


def eager(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, experts_implementation="eager")


def routers_of(model: nn.Module) -> dict[str, nn.Module]:
    return {
        name: each
        for name, each in model.named_modules()
        if re.search("Top[kK]Router|TextRouter", type(each).__name__)
    }


class Routing:
    """Records which experts each router chooses, and by how much."""

    def __init__(self, model: nn.Module) -> None:
        self.chosen: dict[str, list[Tensor]] = {}
        self.margin = float("inf")
        for name, router in routers_of(model).items():
            router.register_forward_hook(self._recorder(name))

    def _recorder(self, name: str) -> Callable[..., None]:
        def record(_router: nn.Module, _args: Any, out: tuple[Tensor, Tensor, Tensor]) -> None:
            scores, _, chosen = out
            self.chosen.setdefault(name, []).append(chosen)
            ordered = scores.detach().flatten(0, -2).sort(dim=-1, descending=True).values
            count = chosen.shape[-1]
            self.margin = min(self.margin, float((ordered[:, count - 1] - ordered[:, count]).min()))

        return record


@each_family
def test_a_step_on_experts_is_peft_s_with_transformers_eager_experts(
    make: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    base = load(make, tmp_path)
    trainee = make_trainee(base, "job", make_spec(), rows())
    randomize(trainee.adapter)
    plain = eager(tmp_path)
    routing = Routing(plain)
    assert_a_step_is_peft_s(base, trainee, plain, tmp_path / "adapter")
    assert routing.margin > MARGIN
    assert len(routers_of(plain)) == len(routing.chosen)


@each_family
@pytest.mark.parametrize("recompute", [Recompute.GATE_UP, Recompute.LAYERS])
def test_what_is_computed_again_takes_the_same_experts_and_has_the_same_gradient(
    make: Callable[[], PretrainedConfig], recompute: Recompute, tmp_path: Path
) -> None:
    base = load(make, tmp_path)
    trainee = make_trainee(base, "job", make_spec(), rows())
    randomize(trainee.adapter)

    def step(one: Recompute) -> tuple[float, Tensor]:
        context = PassContext(base, 512, recompute=one)
        result, gradient = gradient_of_a_step(trainee, lambda: train_round(context, [trainee]))
        trainee.forget_gradient()
        return result.loss, gradient

    loss, gradient = step(Recompute.NONE)
    routing = Routing(base.model)
    loss_again, gradient_again = step(recompute)
    assert loss_again == loss
    assert torch.equal(gradient_again, gradient)
    calls = min(len(chosen) for chosen in routing.chosen.values())  # the last layer keeps everything
    again = [chosen for chosen in routing.chosen.values() if len(chosen) == 2 * calls]
    for chosen in again:
        backwards = chosen[calls:][::-1]  # the last row comes first
        assert all(torch.equal(*pair) for pair in zip(chosen[:calls], backwards, strict=True))
    assert again or recompute is Recompute.GATE_UP


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("make", [QWEN, GPT_OSS], ids=["qwen 3 moe", "gpt-oss"])
def test_experts_in_few_bits_train_as_peft_on_the_same_rounded_weights(
    make: Callable[[], PretrainedConfig], quantization: Any, tmp_path: Path
) -> None:
    base = load(make, tmp_path, quantization=quantization)
    trainee = make_trainee(base, "job", make_spec(), rows())
    randomize(trainee.adapter)
    same = rounded_like(base, tmp_path).train()
    assert_a_step_is_peft_s(base, trainee, same, tmp_path / "adapter")
    held = [each.down_proj for each in experts_in(base.model).values()]
    assert all(parameter.untyped_storage().nbytes() < 16 for parameter in held)


def trained(base: ResidentBase, **options: Any) -> set[str]:
    """Return the names of what an adapter trains, within decoder layers."""
    adapter = TrainableAdapter(base, "job", LoraAdapter(r=2, **options), 0)
    assert (
        adapter.parameters.master.numel() * 16
        == state_bytes(adaptable_shapes(base.model, base.decoder), adapter.spec, 4, 1).total
    )
    return {re.sub(r"^.*\.\d+\.", "", name.rpartition(".")[0]) for name in adapter.parameters.extents}


ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
BOTH = {"mlp.experts", "mlp.experts.base_layer"}


def test_all_linear_takes_experts_and_named_modules_do_not(tmp_path: Path) -> None:
    base = load(QWEN, tmp_path)
    assert trained(base) == ATTENTION | BOTH
    assert trained(base, target_parameters=[]) == ATTENTION
    assert trained(base, target_modules=["q_proj"]) == {"self_attn.q_proj"}
    down = ["mlp.experts.down_proj"]
    assert trained(base, target_modules=[], target_parameters=down) == {"mlp.experts"}
    assert trained(base, target_modules=["q_proj"], target_parameters=["gate_up_proj", *down]) == {
        "self_attn.q_proj",
        *BOTH,
    }
    first = ["layers.0.mlp.experts.down_proj"]
    assert trained(base, target_modules=[], target_parameters=first) == {"mlp.experts"}


def test_experts_have_ranks_and_scales_as_peft_s_patterns_say(tmp_path: Path) -> None:
    base = load(QWEN, tmp_path)
    options: Any = {"rank_pattern": {"experts.down_proj": 3}, "alpha_pattern": {"gate_up_proj": 7}}
    spec = LoraAdapter(r=2, lora_alpha=4, use_rslora=True, **options)
    trainee = make_trainee(base, "job", make_spec(adapter=spec), rows())
    randomize(trainee.adapter)
    assert_a_step_is_peft_s(base, trainee, eager(tmp_path), tmp_path / "adapter")
    shapes = {name: extent.shape for name, extent in trainee.adapter.parameters.extents.items()}
    assert shapes["model.layers.0.mlp.experts.lora_A"] == (4 * 3, 32)
    assert shapes["model.layers.0.mlp.experts.base_layer.lora_B"] == (64, 2 * 4)


@pytest.mark.parametrize("make", [GEMMA, QWEN, JET_MOE], ids=["gemma 4", "qwen 3 moe", "jetmoe"])
def test_no_method_takes_a_router(make: Callable[[], PretrainedConfig], tmp_path: Path) -> None:
    base = load(make, tmp_path)
    for spec in (LoraAdapter(r=2), AdaLoraAdapter(init_r=3, target_r=2)):
        names = TrainableAdapter(base, "job", spec, 0, total_steps=10).parameters.extents
        assert not [name for name in names if {"router", "gate"} & set(name.split("."))]


@pytest.mark.parametrize(
    ("options", "param", "message"),
    [
        ({"lora_dropout": 0.1}, "lora_dropout", "set target_parameters to \\[\\]"),
        ({"use_dora": True}, "use_dora", "no norms for experts"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights", "experts begin with true"),
        ({"dynamic_rank": True}, "dynamic_rank", "cannot be cut"),
        (
            {"target_parameters": ["experts.w1"]},
            "target_parameters",
            "choose target_parameters from mlp.experts.down_proj, mlp",
        ),
        (
            {"target_modules": ["gate_proj"]},
            "target_modules",
            "gate_proj cannot be adapted; choose target_modules from k_proj",
        ),
    ],
)
def test_what_experts_cannot_have_is_refused_with_a_remedy(
    options: dict[str, Any], param: str, message: str, tmp_path: Path
) -> None:
    base = load(QWEN, tmp_path)
    with pytest.raises(JobError, match=message) as refused:
        TrainableAdapter(base, "job", LoraAdapter(r=2, **options), 0)
    assert refused.value.param == f"adapter.{param}"


@pytest.mark.parametrize("init", ["eva", "corda", "lora_ga"])
def test_values_that_experts_cannot_begin_with_are_refused_before_a_row_is_computed(
    init: Any, tmp_path: Path
) -> None:
    spec = make_spec(adapter=LoraAdapter(r=2, init_lora_weights=init))
    base = load(QWEN, tmp_path)
    with pytest.raises(JobError, match="experts begin with true"):
        initial_values(base, spec, rows(), {}, lambda: pytest.fail("a row was computed"))


def test_a_base_without_experts_refuses_their_names(base: ResidentBase) -> None:
    spec = LoraAdapter(target_parameters=["mlp.experts.down_proj"])
    with pytest.raises(JobError, match="leave target_parameters out"):
        TrainableAdapter(base, "job", spec, 0)


def test_a_saved_adapter_goes_on_where_it_was_and_answers_alike_in_plain_peft(tmp_path: Path) -> None:
    base = load(QWEN, tmp_path)
    first = make_trainee(base, "first", make_spec(), rows())
    for _ in range(2):
        train_round(PassContext(base, MAX_TOKENS), [first])
    first.adapter.save(tmp_path / "adapter")
    again = TrainableAdapter(base, "again", LoraAdapter(r=4, lora_alpha=8), 1)
    again.load(load_file(tmp_path / "adapter" / WEIGHTS_NAME))
    assert torch.equal(again.parameters.master, first.adapter.parameters.master)
    ids = torch.tensor([[5, 9, 17, 33, 60, 4]])
    theirs = PeftModel.from_pretrained(eager(tmp_path), tmp_path / "adapter")
    with first.adapter.answering() as ours, torch.no_grad():
        ours.set_attn_implementation(base.own_attention)
        found, expected = (each(input_ids=ids, use_cache=False).logits for each in (ours, theirs))
    assert (found - expected).norm() < 1e-5 * expected.norm()


GLM, NEXT = (
    WITH_EXPERTS[name] for name in ("glm 4 moe, a shared expert and a dense layer", "qwen 3 next moe")
)


@pytest.mark.parametrize("make", [GLM, NEXT], ids=["glm 4 moe", "qwen 3 next moe"])
def test_a_lora_beside_trained_tokens_takes_shared_experts_and_leaves_the_others(
    make: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    base = load(make, tmp_path)
    adapter = attach(base, "job", make_spec(adapter=LoraAdapter(r=4, trainable_token_indices=[3, 4])))
    named = [name for name, each in adapter.plain_model.named_parameters() if each.requires_grad]
    assert not [name for name in named if ".experts." in name]
    assert [name for name in named if "shared_expert" in name and ".gate_proj.lora_A" in name]


def test_a_model_that_does_not_say_how_many_experts_a_token_takes_has_an_unknown_feature() -> None:
    model = AutoModelForCausalLM.from_config(QWEN())
    with pytest.raises(UnknownFeature, match="its configuration has no num_experts_per_tok"):
        RoutedExperts.of(model, "model.layers.0", SimpleNamespace())
