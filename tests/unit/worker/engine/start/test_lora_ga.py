"""LoRA-GA begins at the base model with PEFT's A and B of the same rows, and is saved as a plain LoRA."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from peft.tuners.lora.loraga import preprocess_loraga
from transformers import AutoModelForCausalLM, PretrainedConfig

from core.errors import JobError
from core.jobs.spec import JobSpec, LoraAdapter
from core.methods.low_rank import LoraGAConfig
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import assert_it_begins_at_the_base_and_peft_loads_it, make_spec, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.lora_config import lora_config
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.initial_values import initial_values
from worker.engine.start.observed import divided_by_memory
from worker.engine.step.passes import Abandoned
from worker.engine.step.states import parameters_in
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

ROWS = make_rows(24, 0)
GRADIENT = "_peft_loraga_grad"  # where PEFT keeps it
PATTERNS = {"rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 3}, "use_rslora": True}
BASES = {
    "llama": FAST["llama"],
    "granite, portable": PORTABLE["granite, scaled logits"],
    "phi 3, row by row": PLAIN["phi 3, a rotation by the longest row"],
}


def adapter_of(changes: dict[str, Any] | None = None, **options: Any) -> LoraAdapter:
    given = LoraGAConfig.model_validate(options)
    return LoraAdapter(
        r=4, lora_alpha=8, init_lora_weights="lora_ga", lora_ga_config=given, **(changes or {})
    )


def begin(base: ResidentBase, adapter: LoraAdapter) -> InitialValues:
    return initial_values(base, make_spec(adapter=adapter), ROWS, {}, lambda: False)


def by_peft(folder: Path, spec: JobSpec, modules: set[str]) -> dict[str, torch.Tensor]:
    """Return PEFT's A and B. Before each layer is set, PEFT's random numbers begin with the job's seed."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = lora_config(spec.low_rank, sorted(modules), 1)

    def train_step() -> None:
        for row in ROWS:
            tokens = torch.from_numpy(row.tokens_L).long()
            logits = model(input_ids=tokens[None]).logits[0, :-1]
            learnt = torch.from_numpy(row.learnt_L[1:])
            F.cross_entropy(logits[learnt], tokens[1:][learnt]).backward()

    preprocess_loraga(model, config, train_step)
    layers = {name: model.get_submodule(name) for name in modules}
    gradients = {name: getattr(layer, GRADIENT) for name, layer in layers.items()}
    weights = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    adapted = get_peft_model(model, config).get_base_model()
    found = {}
    for name, layer in layers.items():
        setattr(layer, GRADIENT, gradients[name])
        layer.weight.data = weights[name]
        torch.manual_seed(spec.seed)
        own: Any = adapted.get_submodule(name)
        own.lora_ga_init("default", config.lora_ga_config)
        found[f"{name}.lora_A"] = own.lora_A["default"].weight.detach()
        found[f"{name}.lora_B"] = own.lora_B["default"].weight.detach()
    return found


def assert_factors_are_peft_s(base: ResidentBase, folder: Path, adapter: LoraAdapter) -> None:
    """Compare each direction but for its sign, which no decomposition determines."""
    ours = begin(base, adapter)
    modules = {name.rpartition(".")[0] for name in ours}
    theirs = by_peft(folder, make_spec(adapter=adapter), modules)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values.abs().max() > 0, name
        of_rank = 1 if name.endswith("lora_A") else 0
        expected = theirs[name] * (values * theirs[name]).sum(of_rank, keepdim=True).sign()
        atol = 1e-3 * float(values.abs().max())
        torch.testing.assert_close(values, expected, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("changes", [{}, PATTERNS], ids=["defaults", "patterns"])
@pytest.mark.parametrize("scale", ["stable", "weight_svd", "gd_scale", "unit"])
def test_factors_are_peft_s_of_the_same_rows(
    base: ResidentBase, tiny_folder: Path, scale: str, changes: dict[str, Any]
) -> None:
    assert_factors_are_peft_s(base, tiny_folder, adapter_of(changes, scale=scale, stable_gamma=9))


@pytest.mark.parametrize("direction", ["ArBr", "A2rBr", "random"])
def test_every_choice_of_directions_is_peft_s(base: ResidentBase, tiny_folder: Path, direction: str) -> None:
    assert_factors_are_peft_s(base, tiny_folder, adapter_of(direction=direction))


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_factors_on_every_path_are_peft_s(tmp_path: Path, make: Any) -> None:
    configuration: PretrainedConfig = make()
    save_model(configuration, tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    attention = ["qkv_proj"] if configuration.model_type == "phi3" else ["q_proj", "v_proj"]
    assert_factors_are_peft_s(base, tmp_path, adapter_of({"target_modules": attention}))


def test_only_layers_that_are_adapted_are_computed(base: ResidentBase) -> None:
    found = begin(base, adapter_of({"target_modules": ["q_proj"], "layers_to_transform": [2]}))
    assert found.keys() == {f"model.layers.2.self_attn.q_proj.lora_{factor}" for factor in "AB"}


def test_gradients_are_held_for_as_many_modules_as_the_memory_takes() -> None:
    sizes = {"a": 3, "b": 3, "c": 9, "d": 2}
    assert list(divided_by_memory(sizes, 6)) == [["a", "b"], ["c"], ["d"]]
    assert list(divided_by_memory(sizes, 100)) == [[*sizes]]


def job(base: ResidentBase, adapter: LoraAdapter, first: InitialValues) -> Trainee:
    spec = make_spec(adapter=adapter)
    return Trainee(attach(base, "job", spec, 12, initial=first), spec, ROWS)


def test_a_job_begins_at_the_base_model_and_peft_loads_what_it_leaves(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path
) -> None:
    adapter = adapter_of()
    trainee = job(base, adapter, begin(base, adapter))
    config = assert_it_begins_at_the_base_and_peft_loads_it(base, trainee, ROWS, tiny_folder, tmp_path)
    assert (config["init_lora_weights"], config["lora_ga_config"]) == (True, None)
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_a_resumed_job_goes_on_to_the_bit_and_looks_at_no_rows(base: ResidentBase) -> None:
    adapter = adapter_of()
    undisturbed = job(base, adapter, begin(base, adapter))
    train(base, [undisturbed], 3)
    state = {name: part.clone() for name, part in undisturbed.state().items()}
    train(base, [undisturbed], 3)
    no_rows: list[Row] = []  # of which nothing can be computed
    spec = make_spec(adapter=adapter)
    resumed = job(base, adapter, initial_values(base, spec, no_rows, parameters_in(state), lambda: False))
    resumed.restore(3, state)
    train(base, [resumed], 3)
    assert torch.equal(resumed.adapter.parameters.master, undisturbed.adapter.parameters.master)


@pytest.mark.parametrize("times", [1, len(ROWS) + 1], ids=["row", "weight"])
def test_nobody_waits_for_it_longer_than_for_one(base: ResidentBase, times: int) -> None:
    asked = iter([False] * times + [True])
    with pytest.raises(Abandoned):
        initial_values(base, make_spec(adapter=adapter_of()), ROWS, {}, lambda: next(asked))


def test_a_rank_whose_double_a_layer_does_not_have_is_refused(base: ResidentBase) -> None:
    with pytest.raises(JobError, match=r"k_proj cannot begin with rank 17; lower .* to 16"):
        begin(base, adapter_of({}).model_copy(update={"r": 17}))
