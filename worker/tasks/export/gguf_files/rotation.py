"""The rotary embedding of a model, as llama.cpp computes it."""

from math import log
from typing import Any

import gguf
import numpy as np
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from core.errors import JobError
from worker.tasks.export.gguf_files.architecture import SLIDING

FULL = "full_attention"
NOT_ROTATED = 1e30  # divides a frequency so far that nothing turns
FACTORS_FOR = {"llama3": ("llama", "mistral3", "smollm3", "exaone4"), "proportional": ("gemma4",)}
"""The kinds of rotations with a factor for each frequency, and the architectures that read these."""
SCALED_FOR = {"linear": ("gemma3",), "yarn": ("gpt-oss", "mistral3")}
"""The kinds that are numbers of the configuration, with the architectures that tests hold."""


def head_size(config: Any) -> int:
    """Return the numbers of an attention head's query."""
    given: int | None = getattr(config, "head_dim", None)
    return given or config.hidden_size // config.num_attention_heads


def rotation_keys(config: Any, architecture: str) -> dict[str, Any]:
    """Return what llama.cpp has to know of the rotation. Raises JobError for one that is not converted."""
    whole, windows = _rotation(config, FULL), _rotation(config, SLIDING)
    kind = whole.get("rope_type", "default")
    is_known = kind == "default" or architecture in (*FACTORS_FOR.get(kind, ()), *SCALED_FOR.get(kind, ()))
    if not is_known or windows.get("rope_type", kind) not in ("default", kind):
        reason = f"Rotary embeddings of the type {kind!r} are not converted to GGUF here."
        raise JobError("not_convertible", reason, "format")
    keys = {
        "rope_freq_base": float(whole.get("rope_theta", 10_000.0)),
        "rope_dimension_count": int(head_size(config) * whole.get("partial_rotary_factor", 1.0)),
    }
    if windows != whole:
        keys["rope_freq_base_swa"] = float(windows.get("rope_theta", 10_000.0))
    if kind in SCALED_FOR:
        keys |= _scaling(config, whole, kind)
    return keys


def rotation_factors(config: Any) -> np.ndarray[Any, Any] | None:
    """Return by how much each frequency is divided; None without a change."""
    rotation = _rotation(config, FULL)
    kind = rotation.get("rope_type", "default")
    if kind == "proportional":
        pairs = config.per_layer_config[FULL].head_dim // 2
        turned = int(pairs * rotation.get("partial_rotary_factor", 1.0))
        return np.asarray([1.0] * turned + [NOT_ROTATED] * (pairs - turned), np.float32)
    if kind != "llama3":
        return None
    head = head_size(config)
    exponents = torch.arange(0, head, 2, dtype=torch.float32) / head
    plain = rotation["rope_theta"] ** -exponents
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors: np.ndarray[Any, Any] = (plain / scaled).numpy().astype(np.float32)
    return factors


def _rotation(config: Any, layers: str) -> dict[str, Any]:
    """Return the parameters of the rotary embedding in layers of a type: each may have its own."""
    found: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    return found.get(layers, found)


def _scaling(config: Any, rotation: dict[str, Any], kind: str) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "rope_scaling_type": gguf.RopeScalingType(kind),
        "rope_scaling_factor": float(rotation["factor"]),
    }
    if kind == "yarn":
        _, times = ROPE_INIT_FUNCTIONS["yarn"](config, torch.device("cpu"))
        keys |= {
            "rope_scaling_attn_factors": times / (1 + 0.1 * log(max(rotation["factor"], 1))),
            "rope_scaling_orig_ctx_len": rotation["original_max_position_embeddings"],
            "rope_scaling_yarn_beta_fast": float(rotation.get("beta_fast") or 32),
            "rope_scaling_yarn_beta_slow": float(rotation.get("beta_slow") or 1),
        }
    return keys
