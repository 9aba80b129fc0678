"""Computes what a grader gives a sample, and checks whether a grader can be run."""

import time
from typing import Any

from api.graders.schemas import GraderRun, RunErrors, RunGrader, RunMetadata
from core.errors import InvalidRequest
from core.graders.formula import Formula, FormulaError
from core.graders.schemas import (
    MAX_TEXT,
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from core.graders.similarity import NOT_ON_OFFER, similarity
from core.graders.templates import NoJson, Sample, TooLong, UnknownVariable, malformed, render

TextGrader = StringCheckGrader | TextSimilarityGrader

OPERATIONS = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


def check(grader: Any, param: str = "grader") -> None:
    """Raise InvalidRequest if the grader can never be run on this server.

    `param` is the grader's place in the request.
    """
    match grader:
        case MultiGrader():
            for name, part in grader.by_name.items():
                check(
                    part,
                    f"{param}.graders.{name}" if isinstance(grader.graders, dict) else f"{param}.graders",
                )
            _formula(grader, param)
        case PythonGrader():
            raise _not_on_offer(
                param, "Python graders are not on offer on this server, which has no sandbox for them."
            )
        case TextSimilarityGrader(evaluation_metric=metric) if metric in NOT_ON_OFFER:
            message = f"'{metric}' is not on offer on this server: {NOT_ON_OFFER[metric]}."
            raise _not_on_offer(f"{param}.evaluation_metric", message)
        case StringCheckGrader() | TextSimilarityGrader():
            _check_template(grader.input, f"{param}.input")
            _check_template(grader.reference, f"{param}.reference")


def run(request: RunGrader) -> GraderRun:
    """Run the grader on one sample, and return the reward.

    Raises InvalidRequest if the grader cannot be run. If the sample is at fault, the reward is 0, and the
    answer's errors say what is wrong.
    """
    grader = request.grader
    check(grader)
    parts = _runnable(grader)
    started = time.perf_counter()
    sample = Sample(request.model_sample)
    scores: dict[str, float] = {}
    reward, errors = 0.0, RunErrors()
    try:
        for name, part in parts.items():
            scores[name] = _score(part, request.item, sample)
        reward = _formula(grader).value(scores) if isinstance(grader, MultiGrader) else scores[grader.name]
    except UnknownVariable:
        errors.invalid_variable_error = True
    except NoJson:
        errors.sample_parse_error = True
    except FormulaError:
        errors.other_error = True
    return GraderRun(
        reward=reward,
        metadata=RunMetadata(
            name=grader.name,
            type=grader.type,
            errors=errors,
            execution_time=time.perf_counter() - started,
            scores=scores,
        ),
        sub_rewards=scores if isinstance(grader, MultiGrader) else {},
        model_grader_token_usage_per_model={},
    )


def _score(grader: TextGrader, item: Any, sample: Sample) -> float:
    try:
        text = render(grader.input, item, sample, MAX_TEXT)
        reference = render(grader.reference, item, sample, MAX_TEXT)
    except TooLong as error:
        raise InvalidRequest(
            f"A text of the grader '{grader.name}' is too long: at most {MAX_TEXT} characters are compared. "
            "Shorten the sample or the item.",
            code="text_too_long",
            param="item",
        ) from error
    if isinstance(grader, StringCheckGrader):
        return float(OPERATIONS[grader.operation](text, reference))
    return similarity(grader.evaluation_metric, text, reference)


def _formula(grader: MultiGrader, param: str = "grader") -> Formula:
    try:
        return Formula(grader.calculate_output, grader.by_name)
    except FormulaError as error:
        raise InvalidRequest(
            f"The formula 'calculate_output' cannot be used: {error}.",
            code="invalid_value",
            param=f"{param}.calculate_output",
        ) from error


def _check_template(template: str, param: str) -> None:
    wrong = malformed(template)
    if wrong is not None:
        raise InvalidRequest(
            f"The template holds '{{{{{wrong[:64]}}}}}'. Write a path between the braces, such as "
            "{{ sample.output_text }} or {{ item.reference }}.",
            code="invalid_value",
            param=param,
        )


def _runnable(grader: Any) -> dict[str, TextGrader]:
    """Return the graders of texts that `grader` consists of, by name.

    Raises InvalidRequest if one of them needs a model. These can be checked, but not run yet.
    """
    parts = grader.by_name if isinstance(grader, MultiGrader) else {grader.name: grader}
    for part in parts.values():
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            raise _not_on_offer(
                "grader", f"'{part.type}' graders need a chat model, which this server does not offer yet."
            )
    return parts


def _not_on_offer(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="grader_not_available", param=param)
