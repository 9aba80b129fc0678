"""An adapter that vLLM would compute otherwise than PEFT, or that is damaged, never reaches vLLM."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.serving.errors import UnsuitedServer
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.server.upstream.suitability import check_adapter

NAME = "base_model.model.model.layers.0.self_attn.q_proj"
REPOSITORY = "example/tiny"


def write(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": REPOSITORY}
    (folder / "adapter_config.json").write_text(json.dumps(plain | config))
    factors = {f"{NAME}.lora_A.weight": torch.ones(2, 4), f"{NAME}.lora_B.weight": torch.ones(6, 2)}
    save_file(factors | (tensors or {}), folder / "adapter_model.safetensors")
    return folder


def test_a_plain_lora_is_taken(tmp_path: Path) -> None:
    check_adapter(write(tmp_path, use_rslora=True, modules_to_save=None), REPOSITORY)


@pytest.mark.parametrize(
    "config",
    [{"use_dora": True}, {"peft_type": "IA3"}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}],
    ids=lambda config: next(iter(config)),
)
def test_what_vllm_would_leave_out_is_named(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UnsuitedServer, match="DoRA" if "use_dora" in config else next(iter(config))):
        check_adapter(write(tmp_path, **config), REPOSITORY)


def test_a_tensor_that_is_no_factor_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsuitedServer, match="embed_tokens"):
        check_adapter(write(tmp_path, {"base_model.model.embed_tokens.weight": torch.ones(2, 2)}), REPOSITORY)


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsuitedServer, match="whole model"):
        check_adapter(tmp_path, REPOSITORY)


@pytest.mark.parametrize(
    "tensor", [torch.full((2, 4), float("nan")), torch.ones(3, 4), torch.ones(2)], ids=["NaN", "rank", "axes"]
)
def test_damaged_factors_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(AdapterRefused):
        check_adapter(write(tmp_path, {f"{NAME}.lora_A.weight": tensor}), REPOSITORY)


def test_an_adapter_of_another_base_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="example/other"):
        check_adapter(write(tmp_path, base_model_name_or_path="example/other"), REPOSITORY)
