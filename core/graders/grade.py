"""Grades samples: computes the reward that a grader gives a sample."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from core.errors import InvalidRequest
from core.graders.check import DEFAULT_SANDBOX, TextGrader, check, formula_of, own_graders
from core.graders.formula import FormulaError
from core.graders.python.running import score as python_score
from core.graders.python.sandbox import GraderFailed, Sandbox, SandboxFailed, out_of_time
from core.graders.sample import NoJson, Sample, given
from core.graders.schemas import (
    MAX_COMPARED,
    MAX_GIVEN,
    MAX_TEXT,
    MultiGrader,
    PythonGrader,
    StringCheckGrader,
)
from core.graders.similarity import similarity
from core.graders.templates import TooLong, UnknownVariable, render

Fault = Literal[
    "invalid_variable_error",
    "sample_parse_error",
    "endpoint_grader_error",
    "other_error",
    "python_grader_runtime_error",
    "python_grader_server_error",
]

NOTHING: Mapping[str, float] = MappingProxyType({})
OPERATIONS = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


@dataclass
class Grade:
    """The result of a grader for one sample.

    If the sample cannot be graded, the reward is 0, and `fault` is the kind of the fault. If a Python grader
    or an endpoint is at fault, `details` says how it failed, or in a word how the sandbox failed.
    `scores` has the scores of the graders that the grader consists of, by their names.
    """

    reward: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    fault: Fault | None = None
    details: str | None = None
    seconds: float = 0.0


def grade(
    grader: Any,
    item: Any,
    sample: Sample,
    known: Mapping[str, float] = NOTHING,
    sandbox: Sandbox = DEFAULT_SANDBOX,
) -> Grade:
    """Return the grade of one sample. `known` has the scores of models and endpoints, by graders' names.

    Raises InvalidRequest if the grader cannot be run, or if it would compare more than MAX_COMPARED
    characters. The characters are counted before anything is compared.
    """
    check(grader, sandbox=sandbox)
    parts = own_graders(grader, known)
    codes = {name: part for name, part in parts.items() if isinstance(part, PythonGrader)}
    comparing = {name: part for name, part in parts.items() if not isinstance(part, PythonGrader)}
    started = time.perf_counter()
    made = Grade(scores=dict(known))
    try:
        for name, (text, reference) in _texts(comparing, item, sample).items():
            made.scores[name] = _score(comparing[name], text, reference)
        if codes:
            _run_codes(codes, item, sample, sandbox, made)
        if made.fault is None:
            made.reward = _reward(grader, made.scores)
    except UnknownVariable:
        made.fault = "invalid_variable_error"
    except NoJson:
        made.fault = "sample_parse_error"
    except FormulaError:
        made.fault = "other_error"
    made.seconds = time.perf_counter() - started
    return made


def _reward(grader: Any, scores: Mapping[str, float]) -> float:
    return formula_of(grader).value(scores) if isinstance(grader, MultiGrader) else scores[grader.name]


def _run_codes(
    codes: dict[str, PythonGrader], item: Any, sample: Sample, sandbox: Sandbox, made: Grade
) -> None:
    """Add the scores of Python graders to a grade, up to the first one that fails. They share the time."""
    both = given(sample, item)
    if len(both) > MAX_GIVEN:
        raise InvalidRequest(
            f"The sample and the item are too long: a Python grader is given at most {MAX_GIVEN} characters "
            "of JSON.",
            code="text_too_long",
            param="item",
        )
    deadline = time.monotonic() + sandbox.seconds
    for name, part in codes.items():
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise out_of_time(sandbox.seconds)
            made.scores[name] = python_score(sandbox, part.source, both, left)
        except GraderFailed as error:
            made.fault = "python_grader_runtime_error"
            made.details = f"{part.name}: {error}" if len(codes) > 1 else str(error)
            return
        except SandboxFailed as error:
            made.fault, made.details = "python_grader_server_error", str(error)
            return


def _texts(parts: dict[str, TextGrader], item: Any, sample: Sample) -> dict[str, tuple[str, str]]:
    """Return the text and the reference that each grader compares. Raises InvalidRequest."""
    texts, left = {}, MAX_COMPARED
    for name, part in parts.items():
        try:
            text = render(part.input, item, sample, MAX_TEXT)
            reference = render(part.reference, item, sample, MAX_TEXT)
        except TooLong as error:
            raise InvalidRequest(
                f"A text of the grader '{part.name}' is too long: at most {MAX_TEXT} characters are compared."
                " Shorten the sample or the item.",
                code="text_too_long",
                param="item",
            ) from error
        left -= len(text) + len(reference)
        if left < 0:
            raise InvalidRequest(
                f"The graders would compare more than {MAX_COMPARED} characters in all. Use fewer graders, "
                "or shorten the sample or the item.",
                code="texts_too_long",
                param="grader",
            )
        texts[name] = text, reference
    return texts


def _score(grader: TextGrader, text: str, reference: str) -> float:
    if isinstance(grader, StringCheckGrader):
        return float(OPERATIONS[grader.operation](text, reference))
    return similarity(grader.evaluation_metric, text, reference)
