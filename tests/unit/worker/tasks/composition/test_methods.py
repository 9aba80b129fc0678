"""Compositions equal those of PEFT's `add_weighted_adapter`, for every method that PEFT has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from core.compositions.methods import Method, needs_one_rank, prunes
from core.compositions.requests import ComposeRequest, resolved
from core.errors import JobError
from tests.fixtures.models.tiny import save_model, tiny_llama
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.engine.sampler.adapters.plain_lora import ScaledFactors, read_plain_lora
from worker.tasks.composition.methods import Lora, compose, quantile_of
from worker.tasks.importing.factors import LayerFactors
from worker.tasks.importing.layers import Layers

EVERY_METHOD = get_args(Method)
Q_V, Q_DOWN = ["q_proj", "v_proj"], ["q_proj", "down_proj"]
SEED = 7
SAME = [{"r": 4, "lora_alpha": 8, "target_modules": Q_V}, {"r": 4, "lora_alpha": 2, "target_modules": Q_DOWN}]
OTHER_RANKS = [SAME[0], {"r": 6, "lora_alpha": 3, "target_modules": Q_DOWN}]
PATTERNS = [
    {**SAME[0], "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 5}},
    OTHER_RANKS[1],
]
Q_PROJ = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_model(tiny_llama(), folder)
    return folder


@pytest.fixture(scope="module")
def layers(base: Path) -> Layers:
    return Layers(base)


class Adapters:
    """Adapters with random weights on one model, in PEFT and in files."""

    def __init__(self, base: Path, folder: Path, options: Sequence[Mapping[str, Any]]) -> None:
        torch.manual_seed(0)
        self.names = [f"adapter{number}" for number in range(len(options))]
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        for name, own in zip(self.names, options, strict=True):
            config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **own)
            if isinstance(self.model, PeftModel):
                self.model.add_adapter(name, config)
            else:
                self.model = get_peft_model(self.model, config, adapter_name=name)
        self.model.save_pretrained(folder)
        self.loras: list[Lora] = [read_plain_lora(folder / name) for name in self.names]

    @torch.no_grad()
    def by_peft(self, weights: Sequence[float], asked: ComposeRequest) -> dict[str, Tensor]:
        """Return B A of each layer. Random numbers follow from SEED once PEFT has drawn initial values."""
        tuner = self.model.base_model
        inject = tuner.inject_adapter

        def inject_and_seed(*given: Any) -> None:
            inject(*given)
            torch.manual_seed(SEED)

        tuner.inject_adapter = inject_and_seed
        tuner.add_weighted_adapter(
            self.names,
            list(weights),
            "composed",
            combination_type=asked.method,
            svd_rank=asked.svd_rank,
            svd_clamp=asked.svd_clamp,
            density=asked.density,
            majority_sign_method=asked.majority_sign_method or "total",
        )
        return {
            name: module.lora_B["composed"].weight @ module.lora_A["composed"].weight
            for name, module in tuner.model.named_modules()
            if "composed" in getattr(module, "lora_A", ())
        }


def request(method: str, **options: Any) -> ComposeRequest:
    asked = ComposeRequest.model_validate({"adapters": [{"adapter": "any"}], "method": method, **options})
    return resolved(asked, SEED)


def assert_same_updates(
    found: Mapping[str, LayerFactors], expected: Mapping[str, Tensor], within: float = 1e-5
) -> None:
    """Compare B A of each layer, since the signs of singular vectors are free. The scale is 1."""
    assert found.keys() == expected.keys()
    for name, factors in found.items():
        assert factors.alpha == factors.rank
        largest = float(expected[name].abs().max())
        update_NK = factors.B_NR @ factors.A_RK
        torch.testing.assert_close(update_NK, expected[name], rtol=within, atol=within * largest)


@pytest.mark.family(8)
@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, -0.5)], ids=["positive", "negative"])
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_composition_is_pefts(
    base: Path, layers: Layers, tmp_path: Path, method: Method, weights: tuple[float, float]
) -> None:
    adapters = Adapters(base, tmp_path, SAME)
    asked = request(method, **({"density": 0.4} if prunes(method) else {}))
    found = compose(adapters.loras, weights, asked, layers).factors
    assert_same_updates(found, adapters.by_peft(weights, asked))


@pytest.mark.family(4)
@pytest.mark.parametrize("options", [OTHER_RANKS, PATTERNS], ids=["ranks", "patterns"])
@pytest.mark.parametrize("method", [method for method in EVERY_METHOD if not needs_one_rank(method)])
def test_adapters_of_different_ranks_are_composed_as_peft_does(
    base: Path, layers: Layers, tmp_path: Path, method: Method, options: list[dict[str, Any]]
) -> None:
    adapters = Adapters(base, tmp_path, options)
    asked = request(method, **({"svd_rank": 5} if method != "cat" else {}))
    found = compose(adapters.loras, (0.6, -1.5), asked, layers)
    assert found.rank == (10 if method == "cat" else 5)
    assert_same_updates(found.factors, adapters.by_peft((0.6, -1.5), asked))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "svd", "svd_clamp": 0.9},
        {"method": "ties_svd", "svd_clamp": 0.99, "density": 0.3},
        {"method": "ties", "majority_sign_method": "frequency"},
        {"method": "dare_ties_svd", "majority_sign_method": "frequency", "density": 1.0},
    ],
    ids=str,
)
def test_the_options_of_methods_are_pefts(
    base: Path, layers: Layers, tmp_path: Path, options: dict[str, Any]
) -> None:
    adapters, asked = Adapters(base, tmp_path, SAME), request(**options)
    found = compose(adapters.loras, (1.0, 0.5), asked, layers).factors
    assert_same_updates(found, adapters.by_peft((1.0, 0.5), asked))


@pytest.mark.parametrize("method", ["cat", "svd"])
def test_scales_with_rank_stabilisation_are_those_of_the_adapters(
    base: Path, layers: Layers, tmp_path: Path, method: Method
) -> None:
    adapters = Adapters(base, tmp_path, [{**own, "use_rslora": True} for own in SAME])
    asked = request(method, svd_rank=8 if method == "svd" else None)
    found = compose(adapters.loras, (0.7, -0.4), asked, layers).factors
    module = adapters.model.base_model.model.get_submodule(Q_PROJ)
    with torch.no_grad():
        first, second = (module.get_delta_weight(each) for each in adapters.names)
    whole = found[Q_PROJ].B_NR @ found[Q_PROJ].A_RK
    torch.testing.assert_close(whole, 0.7 * first - 0.4 * second, rtol=1e-4, atol=1e-5)
    assert_same_updates(found, adapters.by_peft((0.7, -0.4), asked))


def test_one_adapter_is_scaled_whatever_the_method_is(base: Path, layers: Layers, tmp_path: Path) -> None:
    adapters, asked = Adapters(base, tmp_path, SAME[:1]), request("dare_ties_svd")
    found = compose(adapters.loras, (-2.0,), asked, layers).factors
    assert_same_updates(found, adapters.by_peft((-2.0,), asked))


def test_a_composition_follows_from_its_seed(base: Path, layers: Layers, tmp_path: Path) -> None:
    loras = Adapters(base, tmp_path, SAME).loras
    one, again, other = (
        compose(loras, (1.0, 1.0), request("dare_linear", seed=seed), layers).factors[Q_PROJ].A_RK
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("options", [OTHER_RANKS, [PATTERNS[0], SAME[0]]], ids=["ranks", "pattern"])
def test_methods_that_add_a_and_b_refuse_different_ranks(
    base: Path, layers: Layers, tmp_path: Path, options: list[dict[str, Any]]
) -> None:
    loras = Adapters(base, tmp_path, options).loras
    for method in filter(needs_one_rank, EVERY_METHOD):
        with pytest.raises(JobError, match="needs one rank") as raised:
            compose(loras, (1.0, 1.0), request(method), layers)
        assert raised.value.code == "different_ranks"


def test_every_layer_is_reported(base: Path, layers: Layers, tmp_path: Path) -> None:
    shares: list[float] = []
    compose(Adapters(base, tmp_path, SAME).loras, (1.0, 1.0), request("cat"), layers, shares.append)
    assert shares == pytest.approx([(1 + n) / len(layers.by_name) for n in range(len(layers.by_name))])


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_quantile_is_that_of_torch(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    for share in (0.001, 0.5, 0.77, 0.999, 1.0):
        assert quantile_of(values, share) == pytest.approx(float(torch.quantile(values, share)), rel=1e-4)


def test_a_quantile_of_more_values_than_torch_takes_is_exact() -> None:
    most = 2**24
    values = torch.arange(most + 1, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values, 0.75)
    assert quantile_of(values, 0.75) == 0.75 * most


def test_a_rank_that_no_job_could_continue_is_refused(layers: Layers) -> None:
    large = {Q_PROJ: ScaledFactors(torch.zeros(200, 64), torch.zeros(64, 200), 1.0)}
    with pytest.raises(JobError, match="rank 400; the largest is 256"):
        compose([large, large], (1.0, 1.0), request("cat"), layers)


def test_numbers_that_overflow_are_refused(layers: Layers) -> None:
    huge = {Q_PROJ: ScaledFactors(torch.full((2, 64), 3e38), torch.full((64, 2), 3e38), 1.0)}
    with pytest.raises(JobError, match="not finite") as raised:
        compose([huge, huge], (100.0, 100.0), request("linear"), layers)
    assert raised.value.code == "not_finite"


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"use_dora": True}, "DoRA"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")],
)
def test_what_is_more_than_a_lora_is_refused(
    base: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(AdapterRefused, match=reason):
        Adapters(base, tmp_path, [{**SAME[0], **change}])
