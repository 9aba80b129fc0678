"""Refuses a specification whose values contradict each other, once each default has its value."""

from collections.abc import Collection

from api.jobs.creation.refusals import invalid_value
from core.catalog import BaseModelEntry
from core.errors import InvalidRequest
from core.jobs.search import ADAPTER
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter
from core.methods.method import MethodOptions
from core.methods.suitability import why_unsuitable


def refuse_contradictions(
    spec: JobSpec, base_model: BaseModelEntry, rows: int, has_validation: bool, swept: Collection[str]
) -> None:
    """Raise InvalidRequest for the first contradiction.

    `rows` are expected to train. `swept` are the paths in the request of the values that a sweep tries.
    """
    for candidate in spec.candidates:
        _refuse_contradictions(candidate.adapter, swept)
        _refuse_unsuitable(candidate, base_model.in_precision(spec.training.quantization))
        _refuse_missing_steps(candidate, rows)
    if not has_validation:
        _refuse_what_needs_validation(spec.training)
    if spec.search is not None:
        _refuse_what_one_adapter_has(spec)


def _refuse_contradictions(adapter: MethodOptions, swept: Collection[str]) -> None:
    """Raise InvalidRequest if options of the adapter contradict each other.

    `swept` are the paths in the request of the values that a sweep tries.
    """
    for name, reason in adapter.contradictions():
        path = f"{ADAPTER}{name}"
        told = f"does not go with the other options: {reason}."
        raise invalid_value(f"parameters.{path}" if path in swept else path, told)


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
        raise invalid_value(
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
    for path in [path for path, is_asked in asked.items() if is_asked]:
        raise invalid_value(
            path,
            "does not go with several candidates. Train the adapter that wins once more with this option.",
        )
