"""Refuses options of a request that do not go together, whatever value each `"auto"` and default gets."""

import json
from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

from api.jobs.creation.found import Found
from api.jobs.creation.refusals import invalid_value
from api.jobs.creation.requested_adapter import LoraAdapter
from api.jobs.creation.schemas import CreateJob
from api.models.base_models import row_limit
from core.catalog import BaseModelEntry
from core.errors import InvalidRequest
from core.jobs.search import ADAPTER, AUTO, LEARNING_RATE, MAX_CANDIDATES, RANK
from core.jobs.spec import TrainingOptions
from core.methods.method import MethodOptions
from core.methods.registry import AdapterOptions, trains_alone
from core.objectives.objective import Objective


def refuse_options(request: CreateJob, found: Found, sweep: Mapping[str, list[Any]] | None) -> None:
    """Raise InvalidRequest for the first option that does not go with the others, or with what was found."""
    adapter = found.adapter or request.adapter or LoraAdapter()
    if found.adapter is not None:
        if request.adapter is not None:
            _refuse_other_adapter(request.adapter, found.adapter)
        _refuse_swept_adapters(sweep or {})
    _refuse_two_hyperparameters(request)
    _refuse_training(request.training_or_default, found, adapter)
    if sweep is not None or getattr(adapter, "r", None) == AUTO:
        _refuse_candidates(adapter, request.objective, sweep is not None)
        if not request.has_validation:
            raise InvalidRequest(
                "Candidates are compared by their losses on a validation file. Name one in "
                "'validation_file'.",
                code="validation_file_required",
                param="validation_file",
            )
        if sweep is not None:
            _refuse_bad_grid(adapter, sweep)


def _refuse_other_adapter(asked: AdapterOptions, parent: AdapterOptions) -> None:
    """Refuse options that the adapter from which the job continues does not have."""
    if asked.type != parent.type:
        raise _other_adapter("type", asked.type, parent.type, leave_out="adapter")
    for name in sorted(asked.model_fields_set - {"type"} - parent.only_in_training):
        if _differ(name, getattr(asked, name), getattr(parent, name)):
            raise _other_adapter(name, getattr(asked, name), getattr(parent, name), f"{ADAPTER}{name}")


def _other_adapter(name: str, asked: Any, own: Any, leave_out: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{ADAPTER}{name}' is {asked!r}, but the job continues from an adapter with {own!r}, and goes on "
        f"with the same adapter. Leave '{leave_out}' out, or name a base model in 'model'.",
        code="invalid_value",
        param=f"{ADAPTER}{name}",
    )


def _differ(name: str, asked: Any, own: Any) -> bool:
    """Return whether the values differ. The order of a list counts only in a text.

    A null `target_parameters` leaves open which experts are changed, so it differs from no list.
    """
    if name == "target_parameters" and asked is None:
        return False
    if isinstance(asked, list) and isinstance(own, list) and name != "alora_invocation_tokens":
        return set(map(str, asked)) != set(map(str, own))
    return bool(asked != own)


def _refuse_swept_adapters(swept: Collection[str]) -> None:
    """Refuse a sweep that tries several adapters, although the job continues from one."""
    if others := sorted(path for path in swept if path.startswith(ADAPTER)):
        raise InvalidRequest(
            f"'parameters.{others[0]}' tries several adapters, but the job continues from one. Leave it out, "
            "or name a base model in 'model'.",
            code="invalid_value",
            param=f"parameters.{others[0]}",
        )


def _refuse_two_hyperparameters(request: CreateJob) -> None:
    """Refuse hyperparameters in `method` that contradict the older field `hyperparameters`."""
    newer, older = request.hyperparameters_of_method, request.hyperparameters
    if newer is None or older is None:
        return
    if newer.model_dump(include=set(type(older).model_fields)) != older.model_dump():
        raise InvalidRequest(
            f"'hyperparameters' contradicts 'method.{request.objective.name}.hyperparameters'; leave "
            "'hyperparameters' out.",
            code="invalid_value",
            param="hyperparameters",
        )


def _refuse_training(training: TrainingOptions, found: Found, adapter: MethodOptions) -> None:
    """Refuse training options that the base model, the method or each other rule out."""
    base_model, precision = found.base_model, training.quantization or found.precision
    if precision not in base_model.precisions:
        choices = " or ".join(f"'{each}'" for each in base_model.precisions)
        reason = f"is '{precision}', but {base_model.id} trains in {choices}."
        raise invalid_value("training.quantization", reason)
    row_limit(base_model, training.max_length, "training.max_length")
    if training.fsdp is not None:
        _refuse_impossible_sharding(base_model.in_precision(precision), training)
    if training.loraplus_lr_ratio is not None and adapter.type != "lora":
        reason = f"belongs to the method 'lora', and this is '{adapter.type}'."
        raise invalid_value("training.loraplus_lr_ratio", reason)
    if training.early_stopping_threshold and training.early_stopping_patience is None:
        reason = "means nothing without 'training.early_stopping_patience'."
        raise invalid_value("training.early_stopping_threshold", reason)


def _refuse_impossible_sharding(base_model: BaseModelEntry, training: TrainingOptions) -> None:
    reason = None
    if training.devices == 1:
        reason = "it spreads the base model over several devices, so 'training.devices' must be above 1"
    elif base_model.quantization is not None:
        reason = f"{base_model.id} is quantised, and quantised weights cannot be spread over devices"
    elif training.eval_samples:
        reason = "spread weights cannot generate samples, and 'training.eval_samples' asks for them"
    if reason is not None:
        raise invalid_value("training.fsdp", f"is not possible for this job: {reason}.")


def _refuse_candidates(adapter: MethodOptions, objective: Objective, is_sweep: bool) -> None:
    """Refuse several candidates for a job that can only have one."""
    automatic = getattr(adapter, "r", None) == AUTO
    if is_sweep and automatic:
        raise _refusal("a sweep tries the ranks that 'parameters' names, so 'auto' is not possible", RANK)
    if trains_alone(adapter):
        cause = getattr(adapter, "trained_beside", None) or "type"
        told = f"the method '{adapter.type}'" if cause == "type" else f"'{ADAPTER}{cause}'"
        message = f"several candidates train together, but {told} trains each job alone"
        raise _refusal(message, f"{ADAPTER}{cause}")
    if automatic and objective.name != "supervised":
        raise _refusal(
            "'auto' compares cross-entropies, so it needs the method 'supervised'; name a rank instead", RANK
        )


def _refuse_bad_grid(adapter: MethodOptions, grid: Mapping[str, Sequence[Any]]) -> None:
    for path, values in grid.items():
        if path != LEARNING_RATE and path.removeprefix(ADAPTER) not in type(adapter).model_fields:
            raise _refusal(
                f"'{path}' is not an option of the method '{adapter.type}'; leave it out",
                f"parameters.{path}",
            )
        if len({json.dumps(value) for value in values}) < len(values):
            raise _refusal("it names a value twice; name each value once", f"parameters.{path}")
    count = prod(map(len, grid.values()))
    if not 2 <= count <= MAX_CANDIDATES:
        raise _refusal(
            f"the values make {count} candidate{'' if count == 1 else 's'}; name values for 2 to "
            f"{MAX_CANDIDATES} candidates",
            "parameters",
        )


def _refusal(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': {reason}.", code="invalid_value", param=param)
