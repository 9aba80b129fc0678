"""Writes an adapter as a plain LoRA: in PEFT's format, and in that of mlx-lm."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from core.errors import JobError
from core.exports.requests import LoraExport, MlxExport
from worker.engine.adapters.saving import save_files
from worker.tasks.export.experts import changes_experts
from worker.tasks.export.low_rank import LowRankUpdate, low_rank_update
from worker.tasks.export.source import Source

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MLX_WEIGHTS, MLX_CONFIG = "adapters.safetensors", "adapter_config.json"


def write_lora(source: Source, asked: LoraExport, folder: Path) -> dict[str, Any]:
    """Write PEFT's two files, with alpha equal to the rank."""
    update = low_rank_update(source, asked.rank).padded()
    dtype = DTYPES[asked.precision]
    tensors = {}
    for layer, factors in update.layers.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = rounded(factors.A_RK, dtype)
        tensors[f"base_model.model.{layer}.lora_B.weight"] = rounded(factors.B_NR, dtype)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=update.rank, lora_alpha=update.rank, target_modules=_targets(update, source)
    )
    save_files(config, tensors, source.entry, folder)
    return described(update)


def write_mlx(source: Source, asked: MlxExport, folder: Path) -> dict[str, Any]:
    """Write mlx-lm's two files. Its factors are the transposes: lora_a [K, R] and lora_b [R, N].

    Raises JobError for an adapter of experts, which mlx-lm holds in another form.
    """
    if changes_experts(source):
        reason = "mlx-lm loads no LoRA of experts in this form. Export the merged model."
        raise JobError("not_a_lora", reason, "format")
    config = source.config
    if (text := config.get_text_config()) is not config:
        raise JobError(
            "not_convertible",
            f"{source.entry.repository} is a {config.model_type} model, which has a text model as a part. "
            "mlx-lm would ignore the names of the adapter's layers. Export the merged model.",
            "format",
        )
    update = low_rank_update(source, asked.rank).padded()
    dtype = DTYPES[asked.precision]
    tensors: dict[str, Tensor] = {}
    for layer, factors in update.layers.items():
        tensors[f"{layer}.lora_a"] = rounded(factors.A_RK.T, dtype).contiguous()
        tensors[f"{layer}.lora_b"] = rounded(factors.B_NR.T, dtype).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / MLX_WEIGHTS, metadata={"format": "mlx"})
    adapter_config = {
        "fine_tune_type": "lora",
        "num_layers": text.num_hidden_layers,
        "lora_parameters": {
            "rank": update.rank,
            "scale": 1.0,
            "dropout": 0.0,
            "keys": sorted({_within_layer(layer) for layer in update.layers}),
        },
    }
    (folder / MLX_CONFIG).write_text(json.dumps(adapter_config, indent=2) + "\n", "utf-8")
    return described(update)


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values in `dtype`. Raises JobError if one of them is too large for it."""
    found = values.to(dtype)
    if not bool(torch.isfinite(found).all()):
        kind = str(dtype).removeprefix("torch.")
        reason = f"The adapter's numbers are too large for {kind}. Send another 'precision'."
        raise JobError("not_finite", reason, "precision")
    return found


def described(update: LowRankUpdate) -> dict[str, Any]:
    """Return what the report says about the factors."""
    return {"rank": update.rank, "layers": len(update.layers), "relative_error": update.error}


def _targets(update: LowRankUpdate, source: Source) -> list[str]:
    """Return the last parts of the layers' names, or the whole names if these would name other layers too.

    Those may be some decoder layers, or layers of the towers of a base that also processes images. Factors of
    experts have the last parts in any case: the names of all experts would fill the file.
    """
    leaves = {layer.rsplit(".", 1)[-1] for layer in update.layers}
    config = source.config
    text = config.get_text_config()
    everywhere = text is config and len(update.layers) == len(leaves) * text.num_hidden_layers
    return sorted(leaves if everywhere or changes_experts(source) else update.layers)


def _within_layer(layer: str) -> str:
    """Return the name without the decoder layer's number: self_attn.q_proj."""
    return layer.split(".", 3)[-1]
