"""Makes the candidates of a job that has several: because of `"r": "auto"`, or as a sweep."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, TypeVar

from api.jobs.creation.requested_adapter import AUTO
from core.errors import InvalidRequest
from core.jobs.search import (
    ADAPTER,
    AUTO_RANKS,
    LEARNING_RATE,
    MAX_CANDIDATES,
    CandidateSearch,
    CandidateSpec,
    SearchKind,
)
from core.methods.method import MethodOptions
from core.methods.registry import METHODS
from core.objectives.objective import Objective

RANK, ALPHA = f"{ADAPTER}r", f"{ADAPTER}lora_alpha"

Taken = TypeVar("Taken", bound=MethodOptions)


def search_for(
    adapter: MethodOptions,
    learning_rate: float,
    parameters: Mapping[str, list[Any]] | None,
    objective: Objective,
    has_validation: bool,
) -> CandidateSearch | None:
    """Return the search of a job with several candidates, or None for a job with one adapter.

    `parameters` are the values that a sweep tries, by their places in the request. Raises InvalidRequest if
    there is nothing to compare, or no validation file to compare by.
    """
    automatic = getattr(adapter, "r", None) == AUTO
    if parameters is None and not automatic:
        return None
    if parameters is not None and automatic:
        raise _refusal("a sweep tries the ranks that 'parameters' names, so 'auto' is not possible", RANK)
    _refuse_impossible(adapter, objective, automatic)
    if not has_validation:
        raise InvalidRequest(
            "Candidates are compared by their losses on a validation file. Name one in 'validation_file'.",
            code="validation_file_required",
            param="validation_file",
        )
    grid = {RANK: list(AUTO_RANKS)} if parameters is None else dict(parameters)
    _refuse_bad_grid(adapter, grid)
    candidates = [
        _candidate(adapter, learning_rate, dict(zip(grid, values, strict=True)))
        for values in product(*grid.values())
    ]
    kind: SearchKind = "auto_rank" if automatic else "sweep"
    return CandidateSearch(kind=kind, parameters=grid, candidates=candidates)


def with_alpha(adapter: Taken) -> Taken:
    """Return the adapter. If its `lora_alpha` is `"auto"`, it becomes twice the rank."""
    if getattr(adapter, "lora_alpha", None) != AUTO:
        return adapter
    options = adapter.model_dump()
    return type(adapter).model_validate({**options, "lora_alpha": 2 * options["r"]})


def _refuse_impossible(adapter: MethodOptions, objective: Objective, automatic: bool) -> None:
    if METHODS[adapter.type].trains == "alone":
        message = f"several candidates train together, but the method '{adapter.type}' trains each job alone"
        raise _refusal(message, "adapter.type")
    if automatic and not objective.name == "supervised":
        raise _refusal(
            "'auto' compares cross-entropies, so it needs the method 'supervised'; name a rank instead", RANK
        )


def _refuse_bad_grid(adapter: MethodOptions, grid: Mapping[str, Sequence[Any]]) -> None:
    for place, values in grid.items():
        if place != LEARNING_RATE and place.removeprefix(ADAPTER) not in type(adapter).model_fields:
            raise _refusal(
                f"'{place}' is no option of the method '{adapter.type}'; leave it out", f"parameters.{place}"
            )
        if len({json.dumps(value) for value in values}) < len(values):
            raise _refusal("it names a value twice; name each value once", f"parameters.{place}")
    count = 1
    for values in grid.values():
        count *= len(values)
    if not 2 <= count <= MAX_CANDIDATES:
        raise _refusal(
            f"the values make {count} candidate{'' if count == 1 else 's'}; name values for 2 to "
            f"{MAX_CANDIDATES} candidates",
            "parameters",
        )


def _candidate(adapter: MethodOptions, learning_rate: float, values: Mapping[str, Any]) -> CandidateSpec:
    """Return the candidate with these values.

    If ranks are tried and the request names no `lora_alpha`, `lora_alpha` counts as `"auto"`.
    """
    options = {
        place.removeprefix(ADAPTER): value for place, value in values.items() if place != LEARNING_RATE
    }
    if RANK in values and ALPHA not in values and "lora_alpha" not in adapter.model_fields_set:
        options["lora_alpha"] = AUTO
    taken = with_alpha(type(adapter).model_validate({**adapter.model_dump(), **options}))
    return CandidateSpec.model_validate(
        {"adapter": taken.model_dump(), "learning_rate": values.get(LEARNING_RATE, learning_rate)}
    )


def _refusal(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': {reason}.", code="invalid_value", param=param)
