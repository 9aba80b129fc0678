"""Plain LoRAs: the same answers as the adapter's, in the layout of each runtime."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoraConfig, PeftModel, PrefixTuningConfig
from safetensors.torch import load_file
from torch import Tensor

from core.errors import JobError
from core.exports.requests import LoraExport, MlxExport
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.models.random_adapters import MakeSource
from tests.fixtures.models.tiny import named_class
from worker.tasks.export.lora import write_lora, write_mlx
from worker.tasks.export.low_rank import low_rank_update
from worker.tasks.export.merging import load_merged

EVERY_LAYER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATTERNS = {
    "rank_pattern": {"q_proj": 2, "down_proj": 6},
    "alpha_pattern": {"v_proj": 3},
    "use_rslora": True,
}
TOKENS = torch.tensor([[5, 17, 400, 31, 9, 220, 8]])


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(
        **{"r": 4, "lora_alpha": 16, "target_modules": EVERY_LAYER, "task_type": "CAUSAL_LM", **options}
    )


def logits(base: Path, folder: Path, tokens: Tensor = TOKENS) -> Tensor:
    model = named_class(base).from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        return PeftModel.from_pretrained(model, folder).eval()(input_ids=tokens).logits


@pytest.mark.parametrize(
    "options", [{}, PATTERNS, {"layers_to_transform": [1]}], ids=["plain", "patterns", "one layer"]
)
def test_a_lora_without_scale_and_patterns_answers_alike(
    make_source: MakeSource, tmp_path: Path, options: dict[str, Any]
) -> None:
    source = make_source(lora(**options))
    report = write_lora(source, LoraExport(format="lora"), tmp_path / "lora")

    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == report["rank"]
    assert not config["rank_pattern"]
    assert not config["alpha_pattern"]
    assert not config["use_rslora"]
    assert report["relative_error"] == 0
    ranks = {len(t) for name, t in load_file(tmp_path / "lora" / WEIGHTS_NAME).items() if "lora_A" in name}
    assert ranks == {report["rank"]}
    expected = logits(source.base_folder, source.folder)
    assert torch.allclose(logits(source.base_folder, tmp_path / "lora"), expected, atol=1e-5)


def test_a_reduced_rank_has_the_error_that_the_report_states(make_source: MakeSource) -> None:
    source = make_source(lora(**PATTERNS))
    exact, reduced = low_rank_update(source, None), low_rank_update(source, 2)

    lost = whole = 0.0
    for name, factors in exact.layers.items():
        delta = factors.B_NR @ factors.A_RK
        kept = reduced.layers[name]
        lost += float((delta - kept.B_NR @ kept.A_RK).square().sum())
        whole += float(delta.square().sum())
    assert reduced.rank == 2
    assert reduced.error == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    assert 0 < reduced.error < 1


def test_a_rank_above_that_of_a_narrow_layer_keeps_all_of_the_layer(make_source: MakeSource) -> None:
    update = low_rank_update(make_source(lora(r=48)), 40)  # keys have 32 outputs
    ranks = {len(factors.A_RK) for factors in update.layers.values()}
    assert ranks == {32, 40}
    narrow = update.layers["model.layers.0.self_attn.k_proj"]
    assert narrow.B_NR.shape == (32, 32)


def test_numbers_that_16_bits_cannot_hold_are_refused(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(lora(lora_alpha=10_000_000))
    with pytest.raises(JobError, match="too large for float16") as refused:
        write_lora(source, LoraExport(format="lora", precision="fp16"), tmp_path / "lora")
    assert (refused.value.code, refused.value.param) == ("not_finite", "precision")


def test_a_head_that_is_the_embedding_too_is_exported_but_not_merged(
    make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(lora(target_modules=["q_proj", "lm_head"]))
    assert "lm_head" in low_rank_update(source, None).layers
    write_mlx(source, MlxExport(format="mlx"), tmp_path / "mlx")
    with pytest.raises(JobError, match="its embedding too") as refused:
        load_merged(source)
    assert refused.value.code == "not_mergeable"


def test_an_adapter_that_makes_up_for_quantisation_is_not_merged_into_other_weights(
    make_source: MakeSource,
) -> None:
    source = replace(make_source(lora()), options={"init_lora_weights": "loftq"})
    with pytest.raises(JobError, match="LoftQ"):
        load_merged(source)
    assert low_rank_update(source, None).rank == 4


@pytest.mark.parametrize(
    "config", [lora(use_dora=True), LoHaConfig(r=2, target_modules=["q_proj"])], ids=["dora", "loha"]
)
def test_what_is_no_lora_needs_a_rank_and_a_full_rank_loses_nothing(
    make_source: MakeSource, config: Any
) -> None:
    source = make_source(config, type_=config.peft_type.lower())
    with pytest.raises(JobError, match="Send 'rank'") as refused:
        low_rank_update(source, None)
    assert (refused.value.code, refused.value.param) == ("not_a_lora", "rank")
    assert low_rank_update(source, 8).error < 1
    assert low_rank_update(source, 64).error < 1e-3


def test_a_method_that_changes_no_weight_is_refused(make_source: MakeSource) -> None:
    source = make_source(
        PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"), type_="prefix_tuning"
    )
    with pytest.raises(JobError, match="prefix_tuning") as refused:
        low_rank_update(source, 4)
    assert refused.value.code == "not_mergeable"


def test_mlx_gets_transposed_factors_under_its_own_names(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(lora())
    write_mlx(source, MlxExport(format="mlx"), tmp_path)

    update = low_rank_update(source, None)
    written = load_file(tmp_path / "adapters.safetensors")
    assert len(written) == 2 * len(update.layers)
    for name, factors in update.layers.items():
        delta_KN = written[f"{name}.lora_a"] @ written[f"{name}.lora_b"]
        assert torch.allclose(delta_KN.T, factors.B_NR @ factors.A_RK, atol=1e-6)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["lora_parameters"]["scale"] == 1
    assert "self_attn.q_proj" in config["lora_parameters"]["keys"]
