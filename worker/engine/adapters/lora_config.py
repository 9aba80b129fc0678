"""PEFT's configuration of a low-rank adapter, made from a job's options."""

from peft import AdaLoraConfig, LoraConfig

from core.methods.low_rank import AdaLoraAdapter, LowRankAdapter
from core.methods.targets import Targets


def lora_config(spec: LowRankAdapter, target_modules: Targets, total_steps: int) -> LoraConfig:
    """Return PEFT's configuration; AdaLoRA needs `total_steps`. Raises ValueError if PEFT refuses."""
    options = {
        **spec.model_dump(exclude={"type", "target_modules", "dynamic_rank"}),
        "task_type": "CAUSAL_LM",
        "target_modules": target_modules,
        "bias": "none",
    }
    if isinstance(spec, AdaLoraAdapter):
        return AdaLoraConfig(total_step=total_steps, **options)
    return LoraConfig(**options)
