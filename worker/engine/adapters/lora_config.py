"""PEFT's configuration of a low-rank adapter, made from a job's options."""

from peft import AdaLoraConfig, LoraConfig

from core.methods.low_rank import AdaLoraAdapter, LowRankAdapter
from core.methods.targets import Targets

OWN = {"type", "target_modules", "target_parameters", "dynamic_rank"}  # PEFT gets these in another form


def lora_config(
    spec: LowRankAdapter,
    target_modules: Targets,
    total_steps: int,
    target_parameters: list[str] | None = None,
) -> LoraConfig:
    """Return PEFT's configuration; AdaLoRA needs `total_steps`. Raises ValueError if PEFT refuses.

    A key of a pattern also holds for a module's weight, where this is named as a parameter.
    """
    options = {
        **spec.model_dump(exclude=OWN),
        "task_type": "CAUSAL_LM",
        "target_modules": target_modules,
        "bias": "none",
    }
    if isinstance(spec, AdaLoraAdapter):
        return AdaLoraConfig(total_step=total_steps, **options)
    if target_parameters:
        options["target_parameters"] = target_parameters
        for pattern in ("rank_pattern", "alpha_pattern"):
            options[pattern] |= {f"{name}.weight": value for name, value in options[pattern].items()}
    return LoraConfig(**options)
