"""PEFT's configuration of an adapter, of any other method than LoRA's, made from a job's options."""

from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from core.errors import JobError
from core.methods.method import MethodOptions, with_seeds
from core.methods.targets import Targets, is_target
from core.methods.vectors import LnTuningAdapter, TrainableTokensAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.targets import targets_for_peft


def peft_config(base: ResidentBase, options: MethodOptions, seed: int) -> PeftConfig:
    """Return PEFT's configuration. PEFT chooses the options that are null.

    A seed that is null becomes the job's `seed`: PEFT would draw another one each time. Raises JobError if a
    target cannot be trained, and ValueError if PEFT refuses the options.
    """
    given = with_seeds(options.model_dump(exclude={"type"}), seed)
    given |= _tokens(base, options) | _targets(base, options)
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
    # PEFT's all-linear would take the routers of experts
    by_itself = base.text_only and not base.decoder.experts
    return {"target_modules": targets_for_peft(targets, base.decoder.groups, by_itself)}


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
    """Return the method's `token_indices`, if any, each once. Raises JobError if the model lacks one."""
    if not isinstance(options, TrainableTokensAdapter):
        return {}
    tokens = sorted(set(options.token_indices))
    words = base.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if tokens[-1] >= words:
        message = f"Token {tokens[-1]} is not in this base model, whose vocabulary has {words} tokens."
        raise JobError("invalid_adapter", message, "adapter.token_indices")
    return {"token_indices": tokens}
