"""Makes the specification of a new job from its request: each default and each `"auto"` gets its value."""

import secrets
from collections.abc import Mapping
from itertools import product
from typing import Any, TypeVar

from api.jobs.creation.contradictions import refuse_contradictions
from api.jobs.creation.found import Found
from api.jobs.creation.requested_adapter import LoraAdapter
from api.jobs.creation.schemas import CreateJob
from core.jobs.search import (
    ADAPTER,
    AUTO,
    AUTO_RANKS,
    LEARNING_RATE,
    RANK,
    CandidateSearch,
    CandidateSpec,
)
from core.jobs.spec import JobSpec, usual_learning_rate
from core.methods.method import MethodOptions
from core.methods.registry import AdapterOptions
from core.objectives.hyperparameters import RequestedHyperparameters

ALPHA = f"{ADAPTER}lora_alpha"

Taken = TypeVar("Taken", bound=MethodOptions)


def specification_of(request: CreateJob, found: Found, sweep: Mapping[str, list[Any]] | None) -> JobSpec:
    """Return the specification of a job with one adapter, or with several if `sweep` lists values to try.

    Raises InvalidRequest if values contradict each other once each default has its value.
    """
    adapter, requested = _adapter(request, found), _hyperparameters(request)
    objective, asked = request.objective, request.training_or_default
    learning_rate = asked.learning_rate or usual_learning_rate(adapter.type)
    search = _search(adapter, learning_rate, sweep)
    rows = found.files["training_file"].rows or 0
    rows = request.preparation.trained(rows) if request.preparation else rows
    hyperparameters = objective.resolve_hyperparameters(requested, rows)
    max_length = asked.max_length or found.base_model.max_length
    spec = JobSpec(
        base_model=found.base_model.id,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        hyperparameters=hyperparameters,
        objective=objective.resolve_options(requested, request.options_beside).sized(
            hyperparameters.steps_per_epoch(rows), max_length
        ),
        adapter=search.candidates[0].adapter if search else _with_alpha(adapter),
        training=asked.model_copy(
            update={
                "max_length": max_length,
                "learning_rate": learning_rate,
                "quantization": asked.quantization or found.precision,
            }
        ),
        search=search,
        preparation=request.preparation,
        lineage=list(found.lineage),
    )
    refuse_contradictions(spec, found.base_model, rows, request.has_validation, sweep or {})
    return spec


def _adapter(request: CreateJob, found: Found) -> AdapterOptions:
    """Return the options that the request asks for, or those of the adapter from which the job continues.

    Of a continued adapter, only options that decide nothing but the training are the request's.
    """
    asked, parent = request.adapter, found.adapter
    if parent is None or asked is None:
        return parent or asked or LoraAdapter()
    given = asked.model_fields_set & parent.only_in_training
    return parent.model_copy(update={name: getattr(asked, name) for name in given})


def _hyperparameters(request: CreateJob) -> RequestedHyperparameters:
    """Return the hyperparameters from `method`, or from the older field `hyperparameters`."""
    older = request.hyperparameters
    return request.hyperparameters_of_method or request.objective.requested(
        **(older.model_dump() if older else {})
    )


def _search(
    adapter: MethodOptions, learning_rate: float, sweep: Mapping[str, list[Any]] | None
) -> CandidateSearch | None:
    """Return the search of a job with several candidates, or None for a job with one adapter.

    `sweep` are the values that it tries, by their paths in the request.
    """
    if sweep is None and getattr(adapter, "r", None) != AUTO:
        return None
    grid = {RANK: list(AUTO_RANKS)} if sweep is None else dict(sweep)
    candidates = [
        _candidate(adapter, learning_rate, dict(zip(grid, values, strict=True)))
        for values in product(*grid.values())
    ]
    return CandidateSearch(
        kind="auto_rank" if sweep is None else "sweep", parameters=grid, candidates=candidates
    )


def _with_alpha(adapter: Taken) -> Taken:
    """Return the adapter. If its `lora_alpha` is `"auto"`, it becomes twice the rank."""
    if getattr(adapter, "lora_alpha", None) != AUTO:
        return adapter
    options = adapter.model_dump()
    return type(adapter).model_validate({**options, "lora_alpha": 2 * options["r"]})


def _candidate(adapter: MethodOptions, learning_rate: float, values: Mapping[str, Any]) -> CandidateSpec:
    """Return the candidate with these values.

    If ranks are tried and the request names no `lora_alpha`, `lora_alpha` counts as `"auto"`.
    """
    options = {path.removeprefix(ADAPTER): value for path, value in values.items() if path != LEARNING_RATE}
    if RANK in values and ALPHA not in values and "lora_alpha" not in adapter.model_fields_set:
        options["lora_alpha"] = AUTO
    taken = _with_alpha(type(adapter).model_validate({**adapter.model_dump(), **options}))
    return CandidateSpec.model_validate(
        {"adapter": taken.model_dump(), "learning_rate": values.get(LEARNING_RATE, learning_rate)}
    )
