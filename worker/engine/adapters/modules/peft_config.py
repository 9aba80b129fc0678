"""PEFT's configuration of an adapter that PEFT's own modules compute, made from a job's options."""

from collections.abc import Collection
from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from core.errors import JobError
from core.methods.low_rank import LoraAdapter
from core.methods.method import MethodOptions, TargetOptions, with_seeds
from core.methods.targets import Targets, is_target
from core.methods.vectors import LnTuningAdapter
from worker.engine.adapters.peft_targets import peft_targets, targets_for_peft
from worker.engine.adapters.refusals import refuse_unknown_tokens
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.portable import body_of


def peft_config(base: ResidentBase, options: MethodOptions, seed: int) -> PeftConfig:
    """Return PEFT's configuration. PEFT chooses the options that are null.

    A seed that is null becomes the job's `seed`: PEFT would draw another one each time. Raises JobError if a
    target cannot be trained, and ValueError if PEFT refuses the options.
    """
    given = with_seeds(options.model_dump(exclude={"type", "dynamic_rank"}), seed)
    given |= _tokens(base, options) | _targets(base, options)
    if isinstance(options, LoraAdapter):
        _refuse_unclear_modules(base.model, options.modules_to_save or ())
    named = {name: value for name, value in given.items() if value is not None}
    return PEFT_TYPE_TO_CONFIG_MAPPING[options.type.upper()](task_type="CAUSAL_LM", **named)


def _targets(base: ResidentBase, options: MethodOptions) -> dict[str, Any]:
    """Return the method's `target_modules`, if it has any. Raises JobError if one cannot be trained."""
    targets: Targets | None = getattr(options, "target_modules", None)
    if targets is None:
        return {}
    if isinstance(options, LnTuningAdapter):
        _refuse_other_modules_than_norms(base.model, targets)
        return {"target_modules": targets}
    if isinstance(options, LoraAdapter):
        modules, parameters = peft_targets(base, options)
        return {"target_modules": modules, "target_parameters": parameters}
    layers = options.layers if isinstance(options, TargetOptions) else None
    return {"target_modules": targets_for_peft(base, targets, layers)}


def _refuse_other_modules_than_norms(model: nn.Module, targets: Targets) -> None:
    """Raise JobError for a target that is not a norm: PEFT would train a copy of any module."""
    norms, others = _norms(model), {name for name, _ in model.named_modules()}
    for target in targets:
        if not any(is_target(norm, [target]) for norm in norms) or any(
            is_target(other, [target]) for other in others - norms
        ):
            choices = ", ".join(sorted({norm.rpartition(".")[2] for norm in norms}))
            message = f"{target} is not a norm; choose target_modules from {choices}."
            raise JobError("invalid_adapter", message, "adapter.target_modules")


def _norms(model: nn.Module) -> set[str]:
    """Return the modules that hold vectors and nothing else, by name."""
    return {
        name
        for name, module in model.named_modules()
        if not module._modules and module._parameters
        if all(parameter is None or parameter.dim() == 1 for parameter in module._parameters.values())
    }


def _tokens(base: ResidentBase, options: MethodOptions) -> dict[str, Any]:
    """Return the tokens that are trained, if any, each once. Raises JobError if the model lacks one."""
    for name in ("token_indices", "trainable_token_indices"):
        if tokens := getattr(options, name, None):
            refuse_unknown_tokens(base.model, tokens, f"adapter.{name}")
            return {name: sorted(set(tokens))}
    return {}


def _refuse_unclear_modules(model: Any, names: Collection[str]) -> None:
    """Raise JobError for a name of `modules_to_save` that names no module of the text model, or too many.

    PEFT trains every module whose name ends with the given letters, and ignores a name that fits none.
    """
    inside = {*body_of(model).modules(), model.get_output_embeddings()}
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    for given in names:
        meant = {name for name in modules if is_target(name, [given])}
        reason = "the text model has no such module"
        if others := sorted({name for name in modules if name.endswith(given)} - meant):
            reason = f"PEFT would train {others[0]} too, whose name ends so; write more of the module's name"
        elif meant and all(modules[name] in inside for name in meant):
            continue
        message = f"{given} cannot be trained as a whole: {reason}."
        raise JobError("invalid_adapter", message, "adapter.modules_to_save")
