"""Checks whether a grader can be used on this server, before anything is graded with it."""

from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from typing import Any

from core.errors import InvalidRequest
from core.graders.formula import Formula, FormulaError
from core.graders.python.running import wrong_with
from core.graders.python.sandbox import Sandbox, SandboxFailed
from core.graders.schemas import (
    IMAGE_TAGS,
    MAX_SOURCE,
    EndpointGrader,
    ModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from core.graders.similarity import NOT_ON_OFFER
from core.graders.templates import malformed

TextGrader = StringCheckGrader | TextSimilarityGrader
DEFAULT_SANDBOX = Sandbox()
SMALLEST_WIDTH = 1e-9  # of a range of scores, for its largest end; below, the scores between would be equal


def check(grader: Any, param: str = "grader", sandbox: Sandbox = DEFAULT_SANDBOX) -> None:
    """Raise InvalidRequest if the grader can never be run on this server.

    `param` is the grader's place in the request, and `sandbox` is where this server runs Python graders.
    """
    match grader:
        case MultiGrader():
            for name, part in grader.by_name.items():
                check(
                    part,
                    f"{param}.graders.{name}" if isinstance(grader.graders, dict) else f"{param}.graders",
                    sandbox,
                )
            formula_of(grader, param)
        case PythonGrader():
            _check_python(grader, param, sandbox)
        case TextSimilarityGrader(evaluation_metric=metric) if metric in NOT_ON_OFFER:
            message = f"'{metric}' is not on offer on this server: {NOT_ON_OFFER[metric]}."
            raise _not_on_offer(f"{param}.evaluation_metric", message)
        case StringCheckGrader() | TextSimilarityGrader():
            check_template(grader.input, f"{param}.input")
            check_template(grader.reference, f"{param}.reference")
        case ScoreModelGrader(range=[low, high]) if not _is_range(low, high):
            raise InvalidRequest(
                "'range' must be the lowest and the highest score, such as [0, 10]. The highest must be "
                "clearly above the lowest, and both must be ordinary numbers.",
                code="invalid_value",
                param=f"{param}.range",
            )


def graders_of(grader: Any) -> dict[str, Any]:
    """Return the graders that `grader` consists of, by their names in its formula."""
    return grader.by_name if isinstance(grader, MultiGrader) else {grader.name: grader}


def judges_of(graders: Iterable[Any], models: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return those of a job's models, by their names, that these graders or criteria ask."""
    parts = [part for grader in graders for part in graders_of(grader).values()]
    named = {part.model for part in parts if isinstance(part, ModelGrader)}
    return {name: model for name, model in models.items() if name in named}


def own_graders(grader: Any, known: Collection[str] = ()) -> dict[str, TextGrader | PythonGrader]:
    """Return the graders that need no model of which `grader` consists, except those whose score is `known`.

    Raises InvalidRequest if one of them needs a model. Only an eval run asks models. The scores that
    endpoints give must be known.
    """
    graders = {name: each for name, each in graders_of(grader).items() if name not in known}
    for each in graders.values():
        if isinstance(each, ModelGrader):
            raise _not_on_offer(
                "grader", f"'{each.type}' graders need a chat model. Only an eval can use them."
            )
        assert not isinstance(each, EndpointGrader), "whoever grades asks endpoints before"
    return graders


def formula_of(grader: MultiGrader, param: str = "grader") -> Formula:
    """Return the grader's formula, parsed. Raises InvalidRequest if it is not a formula over its graders."""
    try:
        return Formula(grader.calculate_output, grader.by_name)
    except FormulaError as error:
        raise InvalidRequest(
            f"The formula 'calculate_output' cannot be used: {error}.",
            code="invalid_value",
            param=f"{param}.calculate_output",
        ) from error


def check_template(template: str, param: str) -> None:
    """Raise InvalidRequest if a template holds braces around something else than a path."""
    wrong = malformed(template)
    if wrong is not None:
        raise InvalidRequest(
            f"The template holds '{{{{{wrong[:64]}}}}}'. Write a path between the braces, such as "
            "{{ sample.output_text }} or {{ item.reference }}.",
            code="invalid_value",
            param=param,
        )


def _check_python(grader: PythonGrader, param: str, sandbox: Sandbox) -> None:
    """Raise InvalidRequest if the code of a Python grader cannot be run here."""
    if sandbox.runner == "off":
        raise _not_on_offer(
            param, "Python graders are not on offer on this server: the operator has turned them off."
        )
    if grader.image_tag not in (None, *IMAGE_TAGS):
        raise InvalidRequest(
            f"There is no image '{grader.image_tag[:64]}'. Set 'image_tag' to null.",
            code="invalid_value",
            param=f"{param}.image_tag",
        )
    if len(grader.source.encode(errors="replace")) > MAX_SOURCE:
        message = f"The source has more than {MAX_SOURCE} bytes."
        raise InvalidRequest(message, code="invalid_value", param=f"{param}.source")
    try:
        wrong = wrong_with(sandbox, grader.source)
    except SandboxFailed as error:
        raise _not_on_offer(
            param,
            "Python graders cannot be run, because this server's sandbox for them fails. The operator finds "
            "the reason in the log.",
        ) from error
    if wrong is not None:
        raise InvalidRequest(
            f"The source of the grader '{grader.name}' cannot be used: {wrong}.",
            code="invalid_value",
            param=f"{param}.source",
        )


def _is_range(low: float, high: float) -> bool:
    """Return whether there is room for different scores between two ends, and whether it is finite."""
    return isfinite(high - low) and high - low > SMALLEST_WIDTH * max(1.0, abs(low), abs(high))


def _not_on_offer(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="grader_not_available", param=param)
