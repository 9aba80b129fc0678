"""The targets of a low-rank adapter, as PEFT must be told them."""

from collections.abc import Collection

from peft import LoraConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

from core.errors import JobError
from core.methods.low_rank import LoraAdapter, LowRankAdapter
from core.methods.method import Layers, MethodOptions
from core.methods.targets import Targets
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.targets import (
    adaptable_modules,
    resolve_experts,
    resolve_targets,
    within_layers,
)

WEIGHT = "{}.weight"
FUSED = ("gate_proj", "up_proj", "w1", "w3")  # PEFT refuses one of a pair alone


def peft_targets(base: ResidentBase, spec: LowRankAdapter) -> tuple[Targets, list[str] | None]:
    """Return PEFT's `target_modules` and `target_parameters`. Raises JobError for what cannot be adapted.

    In a base model with experts, PEFT takes names such as `gate_proj` for experts, also where a layer has
    none. The weight of such a module is named as a parameter, so that plain PEFT loads the adapter as it was
    trained. In 4 or 8 bits PEFT cannot adapt it so: `all-linear` leaves it out.
    """
    groups, experts = base.decoder.groups, base.decoder.experts
    if not experts:
        return targets_for_peft(base, spec.target_modules, spec.layers), None
    modules = resolve_targets(spec.target_modules, groups, spec.layers)
    taken = resolve_experts(spec, experts)
    if not isinstance(spec, LoraAdapter):
        return modules, None
    claimed = _taken_for_experts(modules, base)
    if claimed and base.entry.quantization is not None:
        if spec.target_modules != "all-linear":
            names = ", ".join(within_layers(claimed))
            message = f"PEFT cannot adapt {names} in 4 or 8 bits here: choose other target_modules."
            raise JobError("invalid_adapter", message, "adapter.target_modules")
        modules, claimed = [module for module in modules if module not in claimed], []
    among = [*experts, *map(WEIGHT.format, _taken_for_experts(adaptable_modules(groups), base))]
    parameters = _shortest([*taken, *map(WEIGHT.format, claimed)], among)
    return [module for module in modules if module not in claimed], parameters


def targets_for_peft(base: ResidentBase, targets: Targets, layers: Layers | None = None) -> Targets:
    """Return the targets to name to PEFT. Raises JobError for an unknown target or layer.

    They are the given ones, unless PEFT would adapt a tower or a router: then they are the modules' names.
    """
    modules = resolve_targets(targets, base.decoder.groups, layers)
    return targets if base.adapts_all_linear else modules


def left_out_in_few_bits(base: ResidentBase, adapter: MethodOptions) -> list[str]:
    """Return the layers that `all-linear` leaves out of a LoRA because PEFT cannot adapt them in few bits."""
    if not isinstance(adapter, LoraAdapter) or not base.decoder.experts or base.entry.quantization is None:
        return []
    return _taken_for_experts(adaptable_modules(base.decoder.groups), base)


def _taken_for_experts(modules: Collection[str], base: ResidentBase) -> list[str]:
    """Return those of the modules that PEFT takes for experts of transformers 4, by their names alone."""
    config = LoraConfig(target_modules=[*modules, *FUSED])
    convert_peft_config_for_transformers(config, base.model, None)
    left = set(config.target_modules or ())
    return [module for module in modules if module not in left]


def _shortest(names: Collection[str], among: Collection[str]) -> list[str]:
    """Return the names within decoder layers if they mean no other of all parameters, else whole names."""
    short = within_layers(names)
    meant = {name for name in among if any(name.endswith(f".{each}") for each in short)}
    return short if meant == set(names) else sorted(names)
