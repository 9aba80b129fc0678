"""PEFT's configuration of an adapter from a job's options."""

from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from core.errors import JobError
from core.methods.method import MethodOptions
from core.methods.vectors import LnTuningAdapter, TrainableTokensAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.targets import Targets, chosen, is_target

SEEDS = ("random_seed", "random_loc_seed")  # of options that choose at random what is trained


def peft_config(base: ResidentBase, options: MethodOptions, seed: int) -> PeftConfig:
    """What is null is left to PEFT, but for seeds: PEFT would draw those, and each time others.

    Raises JobError where a target cannot be trained, and ValueError where PEFT refuses.
    """
    given = options.model_dump(exclude={"type"})
    given |= {name: seed for name in SEEDS if name in given and given[name] is None}
    given |= _tokens(base, options) | _targets(base, options)
    named = {name: value for name, value in given.items() if value is not None}
    return PEFT_TYPE_TO_CONFIG_MAPPING[options.type.upper()](task_type="CAUSAL_LM", **named)


def _targets(base: ResidentBase, options: MethodOptions) -> dict[str, Any]:
    targets: Targets | None = getattr(options, "target_modules", None)
    if targets is None:
        return {}
    if isinstance(options, LnTuningAdapter):
        _refuse_others_than_norms(base.model, targets)
        return {"target_modules": targets}
    modules = chosen(targets, base.decoder.groups)
    return {"target_modules": targets if base.text_only else modules}


def _refuse_others_than_norms(model: nn.Module, targets: Targets) -> None:
    """Raises JobError for what is no norm: PEFT would train a copy of any module."""
    norms, others = _norms(model), {name for name, _ in model.named_modules()}
    for target in targets:
        if not any(is_target(norm, [target]) for norm in norms) or any(
            is_target(other, [target]) for other in others - norms
        ):
            choices = ", ".join(sorted({norm.rpartition(".")[2] for norm in norms}))
            message = f"{target} is no norm; name target_modules among {choices}."
            raise JobError("invalid_adapter", message, "adapter.target_modules")


def _norms(model: nn.Module) -> set[str]:
    """Modules that hold vectors and nothing else."""
    return {
        name
        for name, module in model.named_modules()
        if not module._modules and module._parameters
        if all(parameter is None or parameter.dim() == 1 for parameter in module._parameters.values())
    }


def _tokens(base: ResidentBase, options: MethodOptions) -> dict[str, Any]:
    """Each token once. Raises JobError where the model lacks one."""
    if not isinstance(options, TrainableTokensAdapter):
        return {}
    tokens = sorted(set(options.token_indices))
    words = base.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if tokens[-1] >= words:
        message = f"Token {tokens[-1]} is not in this base model, which has {words}."
        raise JobError("invalid_adapter", message, "adapter.token_indices")
    return {"token_indices": tokens}
