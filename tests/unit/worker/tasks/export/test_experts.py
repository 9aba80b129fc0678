"""Adapters of experts as a pair of factors for each matrix of each expert."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, GptOssConfig, MixtralConfig, PretrainedConfig, Qwen3MoeConfig

from core.errors import JobError
from core.exports.requests import LoraExport, MlxExport
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.models.random_adapters import MakeSource, save_base
from worker.tasks.export.lora import write_lora, write_mlx
from worker.tasks.export.low_rank import low_rank_update
from worker.tasks.export.merging import load_merged

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "vocab_size": 640,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts_per_tok": 2,
}
QWEN = Qwen3MoeConfig(**SIZES, num_experts=4, moe_intermediate_size=32)
CONFIGS: dict[str, tuple[PretrainedConfig, str]] = {
    "qwen 3 moe": (QWEN, "model.layers.1.mlp.experts.3.{}_proj"),
    "gpt-oss, interleaved": (
        GptOssConfig(**SIZES, num_local_experts=4),
        "model.layers.1.mlp.experts.3.{}_proj",
    ),
    "mixtral": (MixtralConfig(**SIZES, num_local_experts=4), "model.layers.1.block_sparse_moe.experts.3.{}"),
}
TOKENS = torch.tensor([[5, 17, 400, 31, 9, 220, 8]])
BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(
        **{
            "r": 4,
            "lora_alpha": 12,
            "target_modules": ["q_proj"],
            "target_parameters": BOTH,
            "rank_pattern": {"q_proj": 2},
            "task_type": "CAUSAL_LM",
            **options,
        }
    )


@pytest.mark.parametrize("case", CONFIGS)
def test_each_expert_s_update_is_what_peft_adds_to_its_matrices(
    case: str, make_source: MakeSource, tokenizer: Any, tmp_path: Path
) -> None:
    config, name = CONFIGS[case]
    source = make_source(lora(), save_base(config, tokenizer, tmp_path / "base"))
    merged, base = load_merged(source), source.load_base()
    changes = {
        parameter: merged.get_parameter(each) - base.get_parameter(each)
        for parameter in ("gate_up_proj", "down_proj")
        for each in [f"model.layers.1.mlp.experts.{parameter}"]
    }
    gate_up, down = (changes[each][3] for each in ("gate_up_proj", "down_proj"))
    if "gpt-oss" in case:
        gate_up, down = gate_up.T, down.T
        halves = gate_up[::2], gate_up[1::2]
    else:
        halves = gate_up.chunk(2)
    names = ("w1", "w3", "w2") if case == "mixtral" else ("gate", "up", "down")
    layers = low_rank_update(source, None).layers
    for matrix, expected in zip(names, (*halves, down), strict=True):
        found = layers[name.format(matrix)]
        assert expected.norm() > 0
        torch.testing.assert_close(found.B_NR @ found.A_RK, expected, atol=1e-5, rtol=1e-4)
    assert len(layers) == 2 * (1 + 4 * 3)


def test_the_export_answers_in_peft_as_the_adapter_does(
    make_source: MakeSource, tokenizer: Any, tmp_path: Path
) -> None:
    """PEFT takes such files for an adapter of transformers 4, and puts the pairs together again."""
    source = make_source(lora(), save_base(QWEN, tokenizer, tmp_path / "base"))
    report = write_lora(source, LoraExport(format="lora"), tmp_path / "lora")
    assert report["layers"] == 2 * (1 + 4 * 3)
    assert "base_model.model.model.layers.0.mlp.experts.2.up_proj.lora_B.weight" in load_file(
        tmp_path / "lora" / WEIGHTS_NAME
    )
    answers = []
    for folder in (source.folder, tmp_path / "lora"):
        model: nn.Module = AutoModelForCausalLM.from_pretrained(source.base_folder, dtype=torch.float32)
        with torch.inference_mode():
            answers.append(PeftModel.from_pretrained(model, folder).eval()(input_ids=TOKENS).logits)  # type: ignore[arg-type]
    torch.testing.assert_close(*answers, atol=1e-4, rtol=1e-4)


def test_mlx_is_refused_with_another_form(make_source: MakeSource, tokenizer: Any, tmp_path: Path) -> None:
    source = make_source(lora(), save_base(QWEN, tokenizer, tmp_path / "base"))
    with pytest.raises(JobError, match="Export the merged model") as refused:
        write_mlx(source, MlxExport(format="mlx"), tmp_path / "mlx")
    assert refused.value.param == "format"
