"""Makes the specification of a new job from its request: each default and each `"auto"` gets its value."""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from api.jobs.creation.objectives import objective_of, requested_hyperparameters
from api.jobs.creation.parent import Beginning, adapter_to_train, refuse_swept_adapters
from api.jobs.creation.requested_adapter import LoraAdapter
from api.jobs.creation.schemas import CreateJob
from api.jobs.creation.search import search_for, with_alpha
from api.models.service import row_limit
from core.catalog import BaseModelEntry
from core.errors import InvalidRequest
from core.jobs.search import ADAPTER
from core.jobs.spec import JobSpec, TrainingOptions, usual_learning_rate
from core.methods.low_rank import AdaLoraAdapter
from core.methods.method import MethodOptions
from core.methods.registry import AdapterOptions
from core.methods.suitability import why_unsuitable


def specification_of(
    beginning: Beginning, request: CreateJob, rows: int, sweep: Mapping[str, list[Any]] | None
) -> JobSpec:
    """Return the specification of a job with one adapter, or with several if `sweep` lists values to try.

    Raises InvalidRequest if options contradict each other.
    """
    base_model = beginning.base_model
    adapter: AdapterOptions = request.adapter or LoraAdapter()
    if beginning.adapter is not None:
        adapter = adapter_to_train(request, beginning.adapter)
        refuse_swept_adapters(sweep or {})
    objective = objective_of(request.method)
    requested = requested_hyperparameters(request)
    compared = request.validation_file is not None or request.validation_split is not None
    training = _training(beginning, adapter, request.training_or_default)
    base_model = base_model.in_precision(training.quantization)
    assert training.learning_rate is not None
    search = search_for(adapter, training.learning_rate, sweep, objective, compared)
    spec = JobSpec(
        base_model=base_model.id,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        hyperparameters=objective.resolve_hyperparameters(requested, rows),
        objective=objective.resolve_options(requested),
        adapter=search.candidates[0].adapter if search else with_alpha(adapter),
        training=training,
        search=search,
        lineage=list(beginning.lineage),
    )
    for candidate in spec.candidates:
        _refuse_contradictions(candidate.adapter, sweep or {})
        _refuse_unsuitable(candidate, base_model)
        _refuse_missing_steps(candidate, rows)
    if not compared:
        _refuse_what_needs_validation(spec.training)
    if search is not None:
        _refuse_what_one_adapter_has(spec)
    return spec


def _training(beginning: Beginning, adapter: MethodOptions, training: TrainingOptions) -> TrainingOptions:
    """Return the training options with values for `max_length`, `learning_rate` and `quantization`.

    So the job keeps these values, even if the catalog or the release has other defaults later.
    """
    base_model = beginning.base_model
    precision = training.quantization or beginning.precision or base_model.precision
    if precision not in base_model.precisions:
        choices = " or ".join(f"'{each}'" for each in base_model.precisions)
        raise _invalid("training.quantization", f"is '{precision}', but {base_model.id} trains in {choices}.")
    max_length = row_limit(base_model, training.max_length, "training.max_length")
    if training.fsdp is not None:
        _refuse_impossible_sharding(base_model.in_precision(precision), training)
    if training.loraplus_lr_ratio is not None and adapter.type != "lora":
        reason = f"belongs to the method 'lora', and this is '{adapter.type}'."
        raise _invalid("training.loraplus_lr_ratio", reason)
    if training.early_stopping_threshold and training.early_stopping_patience is None:
        reason = "means nothing without 'training.early_stopping_patience'."
        raise _invalid("training.early_stopping_threshold", reason)
    learning_rate = training.learning_rate or usual_learning_rate(adapter.type)
    resolved = {"max_length": max_length, "learning_rate": learning_rate, "quantization": precision}
    return training.model_copy(update=resolved)


def _refuse_contradictions(adapter: MethodOptions, swept: Collection[str]) -> None:
    """Raise InvalidRequest if options of the adapter contradict each other.

    `swept` are the places in the request of the values that a sweep tries.
    """
    for name, reason in adapter.contradictions():
        place = f"{ADAPTER}{name}"
        told = f"does not go with the other options: {reason}."
        raise _invalid(f"parameters.{place}" if place in swept else place, told)


def _refuse_unsuitable(spec: JobSpec, base_model: BaseModelEntry) -> None:
    if (found := why_unsuitable(spec.adapter, base_model, spec.sharded)) is not None:
        raise InvalidRequest(found.message, code="invalid_value", param=found.param)


def _refuse_missing_steps(spec: JobSpec, rows: int) -> None:
    """Raise InvalidRequest if the job has too few steps for the adapter's schedule.

    A job never has more steps than computed here. It may have fewer, since rows with nothing to learn are
    left out.
    """
    steps = spec.hyperparameters.n_epochs * spec.hyperparameters.steps_per_epoch(rows)
    if isinstance(spec.adapter, AdaLoraAdapter) and (reason := spec.adapter.lacks_steps(steps)):
        raise InvalidRequest(reason, code="invalid_value", param="adapter.tinit")


def _refuse_what_needs_validation(training: TrainingOptions) -> None:
    asked = {
        "early_stopping_patience": training.early_stopping_patience is not None,
        "load_best_model_at_end": training.load_best_model_at_end,
        "eval_samples": bool(training.eval_samples),
    }
    for name in [name for name, is_asked in asked.items() if is_asked]:
        raise _invalid(
            f"training.{name}",
            "needs rows that are held out of training; name a validation_file or a validation_split too.",
        )


def _refuse_what_one_adapter_has(spec: JobSpec) -> None:
    """Raise InvalidRequest for options that only a job with one adapter can have.

    Candidates end when they are compared, and the winner is published as it is at the end of the job.
    """
    asked = {
        "training.early_stopping_patience": spec.training.early_stopping_patience is not None,
        "training.load_best_model_at_end": spec.training.load_best_model_at_end,
        "adapter.dynamic_rank": getattr(spec.adapter, "dynamic_rank", False),
    }
    for place in [place for place, is_asked in asked.items() if is_asked]:
        raise _invalid(
            place,
            "does not go with several candidates. Train the adapter that wins once more with this option.",
        )


def _refuse_impossible_sharding(base_model: BaseModelEntry, training: TrainingOptions) -> None:
    reason = None
    if training.devices == 1:
        reason = "it spreads the base model over several devices, so 'training.devices' must be above 1"
    elif base_model.quantization is not None:
        reason = f"{base_model.id} is quantised, and quantised weights cannot be spread over devices"
    elif training.eval_samples:
        reason = "spread weights cannot generate samples, and 'training.eval_samples' asks for them"
    if reason is not None:
        raise _invalid("training.fsdp", f"is not possible for this job: {reason}.")


def _invalid(place: str, reason: str) -> InvalidRequest:
    """Return the error. `reason` continues the sentence that begins with the parameter's name."""
    return InvalidRequest(f"'{place}' {reason}", code="invalid_value", param=place)
