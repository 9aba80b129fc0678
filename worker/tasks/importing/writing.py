"""Writes the factors of a LoRA as PEFT's files, with a configuration of our own making."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig

from core.catalog import BaseModelEntry
from worker.engine.adapters.saving import IN_FILE, save_files
from worker.tasks.importing.factors import LoraFactors
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.tensors import Tensors


def write_lora(
    lora: LoraFactors, layers: Layers, entry: BaseModelEntry, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write weights and configuration.

    Return the method with its options, in the form of a job's specification, and facts about the adapter.
    """
    config, tensors = lora_config(lora, layers), named_tensors(lora)
    save_files(config, tensors, entry, folder)
    options = _options(config, lora)
    facts = {
        "base_revision": entry.revision,
        "type": "lora",
        "target_modules": options["target_modules"],
        "layers": len(lora.factors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }
    return options, facts


def named_tensors(lora: LoraFactors) -> Tensors:
    """Return the tensors under PEFT's names."""
    found = {}
    for module, factors in lora.factors.items():
        found[f"{IN_FILE}{module}.lora_A.weight"] = factors.A_RK
        found[f"{IN_FILE}{module}.lora_B.weight"] = factors.B_NR
        if factors.magnitude_N is not None:
            found[f"{IN_FILE}{module}.lora_magnitude_vector"] = factors.magnitude_N
    return found


def lora_config(lora: LoraFactors, layers: Layers) -> LoraConfig:
    """Return a configuration with the commonest rank and alpha as those of all layers."""
    ranks = {module: factors.rank for module, factors in lora.factors.items()}
    alphas = {module: _whole(factors.alpha) for module, factors in lora.factors.items()}
    r, alpha = (_commonest(list(values.values())) for values in (ranks, alphas))
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=r,
        lora_alpha=alpha,
        lora_dropout=lora.lora_dropout,
        use_rslora=lora.use_rslora,
        use_dora=any(factors.magnitude_N is not None for factors in lora.factors.values()),
        fan_in_fan_out=layers.by_name[next(iter(lora.factors))].fan_in_fan_out,
        target_modules=_targets(lora.factors, layers),
        rank_pattern={module: rank for module, rank in ranks.items() if rank != r},
        alpha_pattern={module: own for module, own in alphas.items() if own != alpha},
        alora_invocation_tokens=list(lora.invocation) or None,
        bias="none",
    )


def _options(config: LoraConfig, lora: LoraFactors) -> dict[str, Any]:
    return {
        "type": "lora",
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": sorted(config.target_modules or ()),
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "rank_pattern": config.rank_pattern,
        "alpha_pattern": config.alpha_pattern,
        "alora_invocation_tokens": config.alora_invocation_tokens,
        "init_lora_weights": True,
    }


def _targets(adapted: Mapping[str, Any], layers: Layers) -> list[str]:
    """Return the last parts of the layers' names if these name the adapted layers alone, else whole names."""
    leaves = {name.rpartition(".")[2] for name in adapted}
    meant = {name for name in layers.by_name if name.rpartition(".")[2] in leaves}
    return sorted(leaves if meant == set(adapted) else adapted)


def _commonest(values: list[Any]) -> Any:
    return max(sorted(set(values), reverse=True), key=values.count)


def _whole(number: float) -> int | float:
    return int(number) if float(number).is_integer() else float(number)
