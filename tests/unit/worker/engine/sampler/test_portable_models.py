"""Base models on the portable path answer many requests in one step, in transformers' modules."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import STATES, TINY, WITH_EXPERTS
from tests.fixtures.engine.few_bits import rounded_like
from tests.fixtures.engine.sampling import (
    ask,
    assert_answers_are_peft_s,
    by_peft,
    by_peft_on,
    prompts,
    run,
    saved_adapter,
    tokens,
)
from tests.fixtures.engine.wrappers import PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import named_class, save_model
from worker.engine.adapters.saving import save_adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.quantisation import make_trainable
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.engine.sampler.adapters.files import load_adapter
from worker.engine.sampler.adapters.served import GroupFactors, PackedProjection, ServedAdapter
from worker.engine.sampler.requests import Piece
from worker.engine.sampler.sampler import BROKEN, Limits, Sampler

pytestmark = [pytest.mark.slow, pytest.mark.family(3)]

ARCHITECTURES = WITH_EXPERTS | STATES | PORTABLE_WRAPPERS
ATTENTION = LoraAdapter(r=4, target_modules=["q_proj", "k_proj", "v_proj"])
DOWN = LoraAdapter(r=3, target_modules=[], target_parameters=["experts.down_proj"])
PROMPTS = prompts(6)
NEW = 12


def base_of(name: str, folder: Path, **catalog: Any) -> ResidentBase:
    save_model(ARCHITECTURES[name](), folder)
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, torch.device("cpu"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_and_log_probabilities_are_those_of_transformers_and_peft(name: str, tmp_path: Path) -> None:
    source = tmp_path / "base"
    base = base_of(name, source)
    folder = saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")
    sampler = Sampler(base, Limits(step_tokens=9))
    assert sampler.why_slow is None
    adapter = sampler.load_adapter(folder, "a")
    assert adapter.why_slow is None
    assert bool(adapter.experts) == (name in WITH_EXPERTS)
    assert_answers_are_peft_s(sampler, None, source, None)
    assert_answers_are_peft_s(sampler, adapter, source, folder)


@pytest.mark.parametrize("name", WITH_EXPERTS | STATES)
def test_requests_with_different_adapters_share_steps_and_give_way(name: str, tmp_path: Path) -> None:
    """A request that has lost its place to another project's computes its states again."""
    base = base_of(name, tmp_path / "base")
    specs = [LoraAdapter(r=4), DOWN if name in WITH_EXPERTS else ATTENTION, ATTENTION]
    folders = [saved_adapter(base, spec, tmp_path / f"adapter-{n}") for n, spec in enumerate(specs)]
    sampler = Sampler(base, Limits(cache_bytes=64 << 20, step_tokens=9, max_running=3))
    adapters = [*(sampler.load_adapter(folder, folder.name) for folder in folders), None]
    assert [adapter.why_slow for adapter in adapters if adapter] == [None] * 3
    requests = [
        ask(f"{n}", prompt, adapters[n % 4], project="late" if n > 3 else "early", max_tokens=NEW)
        for n, prompt in enumerate(PROMPTS)
    ]
    for request in requests[:4]:
        sampler.submit(request)
    pieces: dict[str, list[Piece]] = {}
    while sampler.load.running < 3:
        keep(sampler.step(), pieces)
    for found in run(sampler, requests[4:]).values():
        keep(found, pieces)
    for n, folder in enumerate([*folders, None]):
        expected = by_peft(tmp_path / "base", folder, PROMPTS[n::4], NEW)
        assert [tokens(pieces[f"{number}"]) for number in range(n, len(PROMPTS), 4)] == expected
    assert sampler.load.pool_share == 0


def keep(some: Iterable[Piece], pieces: dict[str, list[Piece]]) -> None:
    for piece in some:
        pieces.setdefault(piece.request_id, []).append(piece)


def test_a_prompt_goes_on_where_the_states_behind_its_beginning_are_kept(tmp_path: Path) -> None:
    """The next turn of a chat, and the third prompt behind the same beginning."""
    base = base_of("qwen 3.5, delta rule", tmp_path / "base")
    sampler = Sampler(base, Limits(step_tokens=9))
    first, own = list(range(20, 70)), [[100 + n] * 20 for n in range(3)]
    answer = tokens(run(sampler, [ask("first", first, max_tokens=NEW)])["first"])
    behind_one_another = [*first, *answer, 99, 98], *([*first[:40], *each] for each in own)
    cached = []
    for n, prompt in enumerate(behind_one_another):
        pieces = run(sampler, [ask(f"{n}", prompt, max_tokens=NEW)])[f"{n}"]
        assert tokens(pieces) == by_peft(tmp_path / "base", None, [prompt], NEW)[0]
        cached.append(pieces[0].cached_tokens)
    assert cached == [48, 0, 32, 32]


@pytest.mark.exhaustive
def test_a_request_that_breaks_a_step_leaves_the_states_of_the_others_as_they_were(tmp_path: Path) -> None:
    """Its adapter fits no layer or no experts, and breaks the step behind the first layers' states."""
    base = base_of("qwen 3.5 moe", tmp_path / "base")
    factors = GroupFactors(torch.zeros(2, 7), [PackedProjection(slice(0, 7), slice(0, 2), torch.zeros(2, 7))])
    update = ExpertUpdate.frozen(torch.zeros(4 * 2, 7), torch.zeros(7, 2 * 4), 4, 1.0)
    bad = {
        "layers": ServedAdapter("layers", 0, factors={[*base.decoder.groups][-1]: factors}),
        "experts": ServedAdapter("experts", 0, experts={[*base.decoder.experts][-1]: update}),
    }
    sampler = Sampler(base, Limits(step_tokens=30))
    requests = [ask(f"{n}", prompt, max_tokens=NEW) for n, prompt in enumerate(PROMPTS[:3])]
    pieces = run(sampler, [*requests, *(ask(name, PROMPTS[3][:20], each) for name, each in bad.items())])
    assert [pieces[name][-1].error for name in bad] == [BROKEN] * 2
    expected = by_peft(tmp_path / "base", None, PROMPTS[:3], NEW)
    assert [tokens(pieces[request.id]) for request in requests] == expected


def test_a_pattern_of_a_layer_does_not_mean_its_weight_as_in_peft(tmp_path: Path) -> None:
    """PEFT adapts the shared experts of GLM by their weights."""
    base = base_of("glm 4 moe, a shared expert and a dense layer", tmp_path / "base")
    spec = LoraAdapter(r=4, alpha_pattern={"gate_proj": 90, "q_proj": 90})
    folder = saved_adapter(base, spec, tmp_path / "adapter")
    change(folder, alpha_pattern=spec.alpha_pattern)
    adapter = load_adapter(base, folder, "a")
    assert adapter.why_slow is None
    assert_answers_are_peft_s(Sampler(base), adapter, tmp_path / "base", folder)


def change(folder: Path, **options: Any) -> None:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    assert config.keys() >= options.keys()
    assert any(config[name] != value for name, value in options.items())
    file.write_text(json.dumps({**config, **options}))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", ["qwen 3 moe", "gpt-oss, sinks and experts"])
def test_experts_in_few_bits_answer_as_peft_on_the_same_rounded_weights(
    name: str, quantization: Any, tmp_path: Path
) -> None:
    source = tmp_path / "base"
    base = base_of(name, source, quantization=quantization)
    folders = [saved_adapter(base, spec, tmp_path / f"{spec.r}") for spec in (LoraAdapter(r=4), DOWN)]
    sampler = Sampler(base, Limits(step_tokens=30))
    adapters = [sampler.load_adapter(folder, folder.name) for folder in folders]
    assert [adapter.why_slow for adapter in adapters] == [None, None]
    pieces = run(
        sampler, [ask(f"{n}", prompt, adapters[n % 2], max_tokens=NEW) for n, prompt in enumerate(PROMPTS)]
    )
    for n, folder in enumerate(folders):
        same = rounded_like(base, source)
        make_trainable(same)  # otherwise layers in 8 bits would round their inputs too
        expected = by_peft_on(same, folder, PROMPTS[n::2], NEW)
        assert [tokens(pieces[f"{number}"]) for number in range(n, len(PROMPTS), 2)] == expected


A, B = (f"base_model.model.model.layers.0.mlp.experts.lora_{factor}.weight" for factor in "AB")
DAMAGES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "inputs and outputs swapped": (
        lambda t: t.update({A: t[B].T.contiguous(), B: t[A].T.contiguous()}),
        r"down_proj have the shapes \[16, 64\] and \[32, 16\], .* \[64, 32\] of 4 experts",
    ),
    "a rank for some experts": (
        lambda t: t.update({A: t[A][1:], B: t[B][:, 1:].contiguous()}),
        "of 4 experts",
    ),
    "a factor missing": (lambda t: t.pop(B), "only one of the two factors of .*down_proj"),
    "no weights": (lambda t: t.clear(), "no weights"),
}


def test_factors_that_do_not_fit_the_experts_are_refused(tmp_path: Path) -> None:
    base = base_of("qwen 3 moe", tmp_path / "base")
    folder = saved_adapter(base, DOWN.model_copy(update={"r": 4}), tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    whole = load_file(file)
    found = load_adapter(base, folder, "whole")
    assert found.nbytes == sum(tensor.nbytes for tensor in whole.values())
    for spoil, reason in DAMAGES.values():
        spoilt = dict(whole)
        spoil(spoilt)
        save_file(spoilt, file)
        with pytest.raises(AdapterRefused, match=reason):
            load_adapter(base, folder, "spoilt")
    save_file(whole, file)
    change(folder, target_parameters=5)
    with pytest.raises(AdapterRefused, match="target_parameters is not a list of names"):
        load_adapter(base, folder, "spoilt")


def test_what_peft_or_the_engine_cannot_put_on_experts_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "base"
    base = base_of("gpt-oss, sinks and experts", source)
    folder = saved_adapter(base, DOWN, tmp_path / "dora")
    change(folder, use_dora=True)
    with pytest.raises(AdapterRefused, match="does not work with use_dora"):
        load_adapter(base, folder, "dora")
    model = named_class(source).from_pretrained(source, dtype=torch.float32)
    of_biases = LoraConfig(r=2, target_modules=[], target_parameters=["experts.gate_up_proj_bias"])
    save_adapter(PeftModel(model, of_biases), TINY, tmp_path / "biases")
    with pytest.raises(AdapterRefused, match="changes the parameter gate_up_proj_bias"):
        load_adapter(base, tmp_path / "biases", "biases")
