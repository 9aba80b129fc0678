"""EVA: directions and ranks are PEFT's, a job begins at the base model, and a resumed job reads no rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora.eva import initialize_lora_eva_weights
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from core.errors import JobError
from core.estimates.adapters import state_bytes
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter
from core.methods.low_rank import EvaConfig
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.process_group import process_group_on
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, peft_loss, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.lora_config import lora_config
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.start import observed
from worker.engine.start.eva import distribute_ranks
from worker.engine.start.initial_values import initial_values
from worker.engine.start.observed import first_rows, observe, sources_of
from worker.engine.step.context import PassContext
from worker.engine.step.data_order import order_of
from worker.engine.step.passes import Abandoned
from worker.engine.step.states import parameters_in
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.rows.row_store import store_rows

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

EVA = LoraAdapter(r=4, lora_alpha=8, init_lora_weights="eva")
ROWS = make_rows(24, 0)


def begin(base: ResidentBase, adapter: LoraAdapter = EVA, rows: list[Row] = ROWS) -> InitialValues:
    return initial_values(base, make_spec(adapter=adapter), rows, {}, lambda: False)


def job(base: ResidentBase, spec: JobSpec, first: InitialValues) -> Trainee:
    return Trainee(attach(base, "job", spec, 12, initial=first), spec, ROWS)


def by_peft(folder: Path, adapter: LoraAdapter, rows: list[Row], **config: Any) -> PeftModel:
    """Let PEFT initialise an adapter with the rows, padded to one batch, which it sees again and again."""
    length = max(len(row.tokens_L) for row in rows)
    inputs = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(inputs), torch.full_like(inputs, -100)
    for number, row in enumerate(rows):
        tokens = torch.from_numpy(row.tokens_L).long()
        inputs[number, : len(tokens)], mask[number, : len(tokens)] = tokens, 1
        labels[number, : len(tokens)] = torch.where(torch.from_numpy(row.learnt_L), tokens, -100)
    batch = {"input_ids": inputs, "attention_mask": mask, "labels": labels}
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), lora_config(adapter, "all-linear", 1)
    )
    initialize_lora_eva_weights(model, [batch], show_progress_bar=False)
    return model


def factors(model: Any) -> dict[str, Tensor]:
    """Return A of each module that has one."""
    return {
        name: layer.lora_A["default"].weight.detach()
        for name, layer in model.get_base_model().named_modules()
        if hasattr(layer, "lora_A")
    }


def ranks_by_input(found: dict[str, Tensor]) -> dict[str, list[int]]:
    """Return the ranks of the modules with the same inputs, in falling order."""
    ranks: dict[str, list[int]] = {}
    for name, A in found.items():
        layer, _, leaf = name.rpartition(".")
        kind = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "up", "up_proj": "up"}
        ranks.setdefault(f"{layer}.{kind.get(leaf, leaf)}", []).append(len(A))
    return {name: sorted(each, reverse=True) for name, each in ranks.items()}


CONFIGURATIONS = {
    "defaults": EVA,
    "ranks stay": EVA.model_copy(update={"eva_config": EvaConfig(rho=1.0)}),
    "all tokens": EVA.model_copy(update={"eva_config": EvaConfig(use_label_mask=False)}),
    "patterns, rslora": EVA.model_copy(
        update={"rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 3}, "use_rslora": True}
    ),
    "alpha stays": EVA.model_copy(update={"eva_config": EvaConfig(rho=3.0, adjust_scaling_factors=False)}),
}


@pytest.mark.parametrize("adapter", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_directions_ranks_and_scales_are_peft_s(
    base: ResidentBase, tiny_folder: Path, adapter: LoraAdapter
) -> None:
    theirs = by_peft(tiny_folder, adapter, ROWS)
    ours = TrainableAdapter(base, "job", adapter, 0, initial=begin(base, adapter)).plain_model
    expected, found = factors(theirs), factors(ours)
    assert ranks_by_input(found) == ranks_by_input(expected)
    for name, A in found.items():
        if len(A) != len(expected[name]):
            continue  # it shares its inputs with another module, and the two have each other's ranks
        layer, other = (each.get_base_model().get_submodule(name) for each in (ours, theirs))
        assert layer.scaling["default"] == pytest.approx(other.scaling["default"])
        bases = [torch.linalg.qr(each.T).Q for each in (A, expected[name])]
        cosines = torch.linalg.svdvals(bases[0].T @ bases[1])  # cosines of the principal angles
        assert cosines.min() > 0.99, name
        assert not layer.lora_B["default"].weight.any()


def test_ranks_are_moved_and_none_is_lost(base: ResidentBase) -> None:
    ranks = {name: len(A) for name, A in begin(base).items()}
    assert sum(ranks.values()) == 4 * 21
    assert len(set(ranks.values())) > 1
    assert max(ranks.values()) <= 8


def test_ranks_go_where_they_explain_most() -> None:
    explained = {"a": torch.tensor([0.5, 0.3, 0.1, 0.05]), "b": torch.tensor([0.4, 0.2, 0.02, 0.01])}
    source_of, most = {"a": "a", "twin": "a", "b": "b"}, {"a": 3, "twin": 3, "b": 3}
    for asked, expected in [
        ({"a": 2, "twin": 1, "b": 1}, {"a": 2, "twin": 1, "b": 1}),
        ({"a": 2, "twin": 2, "b": 3}, {"a": 3, "twin": 2, "b": 2}),
        ({"a": 1, "twin": 1, "b": 0}, {"a": 1, "twin": 1, "b": 0}),
    ]:
        assert distribute_ranks(explained, source_of, asked, most) == expected


def test_a_module_without_ranks_is_no_target(base: ResidentBase, tmp_path: Path) -> None:
    first = {name: A for name, A in begin(base).items() if "layers.0.self_attn.k_proj" not in name}
    adapter = TrainableAdapter(base, "job", EVA, 0, initial=first)
    adapter.save(tmp_path)
    assert len(first) == 20
    assert sorted(adapter.parameters.extents) == sorted(
        name.replace("lora_A", factor) for name in first for factor in ("lora_A", "lora_B")
    )
    assert sorted(load_file(tmp_path / WEIGHTS_NAME)) == sorted(
        f"base_model.model.{name}.weight" for name in adapter.parameters.extents
    )


def test_whitened_directions_are_longer_the_less_they_vary(base: ResidentBase) -> None:
    whitened = begin(base, EVA.model_copy(update={"eva_config": EvaConfig(whiten=True)}))
    for name, A in begin(base).items():
        lengths = whitened[name].norm(dim=1)
        assert torch.allclose(A.norm(dim=1), torch.ones(len(A)), atol=1e-4)
        assert torch.allclose(whitened[name], A * lengths[:, None], atol=1e-5)
        assert (lengths.diff() > -1e-6).all()


def test_it_begins_at_the_base_model_and_peft_loads_what_it_leaves(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path
) -> None:
    spec = make_spec(adapter=EVA)
    trainee = job(base, spec, begin(base))
    with torch.no_grad():
        expected = peft_loss(AutoModelForCausalLM.from_pretrained(tiny_folder), ROWS).item()
    assert evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, ROWS).loss == pytest.approx(
        expected, rel=1e-5
    )
    train(base, [trainee], 6)
    trainee.adapter.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["eva_config"], config["r"]) == (True, None, 4)
    assert config["rank_pattern"]
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path)
    with torch.no_grad():
        loss = peft_loss(loaded, ROWS).item()
    assert loss < expected - 0.01
    assert evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, ROWS).loss == pytest.approx(
        loss, rel=1e-5
    )


def test_a_resumed_job_goes_on_to_the_bit_and_looks_at_no_rows(base: ResidentBase) -> None:
    spec = make_spec(adapter=EVA)
    undisturbed = job(base, spec, begin(base))
    train(base, [undisturbed], 3)
    state = {name: part.clone() for name, part in undisturbed.state().items()}
    train(base, [undisturbed], 3)
    resumed = job(base, spec, initial_values(base, spec, NO_ROWS, parameters_in(state), lambda: False))
    resumed.restore(3, state)
    train(base, [resumed], 3)
    assert torch.equal(resumed.adapter.parameters.master, undisturbed.adapter.parameters.master)


def test_a_process_group_computes_a_job_s_initial_values_once(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(adapter=EVA)
    process_group = process_group_on(base, MAX_TOKENS)
    with pytest.raises(Abandoned):
        process_group.join("job", spec, store_rows(ROWS), {}, lambda: True)
    begun = process_group.join("job", spec, store_rows(ROWS), {})
    train(base, [begun], 1)
    monkeypatch.setattr(observed, "observe", lambda *_: pytest.fail("it looks at rows"))
    resumed = process_group.join("job", spec, store_rows(ROWS), parameters_in(begun.state()))
    assert torch.equal(resumed.adapter.parameters.master, begun.adapter.parameters.master)


NO_ROWS: list[Row] = []  # of which nothing can be computed
OTHERS = {
    "portable": PORTABLE["granite, scaled logits"],
    "plain": PLAIN["phi 3, a rotation by the longest row"],
    "nf4": FAST["qwen 2, biases"],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_path_sees_what_transformers_modules_see(kind: str, tmp_path: Path) -> None:
    config: PretrainedConfig = OTHERS[kind]()
    save_model(config, tmp_path)
    entry = TINY.model_copy(update={"quantization": "nf4"} if kind == "nf4" else {})
    base = ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))
    first = begin(base, EVA.model_copy(update={"eva_config": EvaConfig(use_label_mask=False)}))
    adapter = TrainableAdapter(base, "job", EVA, 0, initial=first)
    assert evaluate(PassContext(base, MAX_TOKENS), adapter, ROWS).loss > 0
    if kind != "nf4":
        every = EVA.model_copy(update={"eva_config": EvaConfig(use_label_mask=False)})
        theirs = by_peft(tmp_path, every, ROWS)
        ours = {name.removesuffix(".lora_A"): A for name, A in first.items()}
        assert ranks_by_input(ours) == ranks_by_input(factors(theirs))


def test_projections_of_one_input_share_their_directions(base: ResidentBase) -> None:
    modules = [f"model.layers.1.{name}" for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")]
    found = sources_of(base, modules, ROWS[0])
    assert [found[module] for module in modules] == [modules[0], modules[0], modules[2]]


def test_rows_are_the_first_of_the_job_s_order_and_bounded() -> None:
    spec = make_spec()
    shown = first_rows(spec, ROWS, most_tokens=100)
    assert [row.line for row in shown] == [
        ROWS[number].line for number in order_of(spec.seed, 0, len(ROWS))[: len(shown)]
    ]
    tokens = [len(row.tokens_L) for row in shown]
    assert sum(tokens[:-1]) < 100 <= sum(tokens)


def test_nobody_waits_for_it_longer_than_for_one_row(base: ResidentBase) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Abandoned):
        initial_values(base, make_spec(adapter=EVA), ROWS, {}, lambda: next(asked))


def test_a_layer_is_as_it_was_when_looking_breaks(base: ResidentBase) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    module = "model.layers.1.mlp.down_proj"
    with pytest.raises(RuntimeError):
        observe(base, [module], ROWS[0], fail)
    assert not base.model.get_submodule(module)._forward_pre_hooks


def test_too_few_tokens_are_refused_with_what_would_help(base: ResidentBase) -> None:
    with pytest.raises(JobError, match=r"too few tokens .* Lower adapter\.r or eva_config\.rho"):
        begin(base, EVA.model_copy(update={"r": 30}), ROWS[:2])


def test_more_ranks_than_inputs_are_refused(base: ResidentBase) -> None:
    with pytest.raises(JobError, match=r"q_proj cannot begin with rank 65; lower .* to 64"):
        begin(base, EVA.model_copy(update={"r": 65}))


@pytest.mark.parametrize("rho", [1.0, 2.0, 4.0])
def test_its_memory_is_bounded_before_it_is_attached(base: ResidentBase, rho: float) -> None:
    adapter = EVA.model_copy(update={"eva_config": EvaConfig(rho=rho)})
    shapes = projection_shapes(base.model, base.decoder.groups)
    most = state_bytes(shapes, adapter, 4, base.lanes.count).total
    parameters = TrainableAdapter(base, "job", adapter, 0, initial=begin(base, adapter)).parameters
    held = parameters.master.numel() * (12 + 4 * base.lanes.count)
    assert held <= most <= rho * held


def test_a_batch_size_has_no_part_in_it(base: ResidentBase) -> None:
    """Only the rows and the seed of the job matter."""
    other = Hyperparameters(n_epochs=1, batch_size=2, learning_rate_multiplier=2.0)
    first = begin(base)
    second = initial_values(base, make_spec(adapter=EVA, hyperparameters=other), ROWS, {}, lambda: False)
    assert all(torch.equal(A, second[name]) for name, A in first.items())
