"""Grades samples: computes the reward that a grader gives a sample."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from core.errors import InvalidRequest
from core.graders.check import TextGrader, check, formula_of, text_graders
from core.graders.formula import FormulaError
from core.graders.schemas import MAX_COMPARED, MAX_TEXT, MultiGrader, StringCheckGrader
from core.graders.similarity import similarity
from core.graders.templates import NoJson, Sample, TooLong, UnknownVariable, render

Fault = Literal["invalid_variable_error", "sample_parse_error", "endpoint_grader_error", "other_error"]

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

    If the sample is at fault, the reward is 0, and `fault` is its kind.
    `scores` has the scores of the graders of texts that the grader consists of, by their names.
    """

    reward: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    fault: Fault | None = None
    seconds: float = 0.0


def grade(grader: Any, item: Any, sample: str, known: Mapping[str, float] = NOTHING) -> Grade:
    """Return the grade of one sample. `known` has the scores of models and endpoints, by graders' names.

    Raises InvalidRequest if the grader cannot be run, or if it would compare more than MAX_COMPARED
    characters. The characters are counted before anything is compared.
    """
    check(grader)
    parts = text_graders(grader, known)
    started = time.perf_counter()
    made = Grade(scores=dict(known))
    try:
        for name, (text, reference) in _texts(parts, item, Sample(sample)).items():
            made.scores[name] = _score(parts[name], text, reference)
        if isinstance(grader, MultiGrader):
            made.reward = formula_of(grader).value(made.scores)
        else:
            made.reward = made.scores[grader.name]
    except UnknownVariable:
        made.fault = "invalid_variable_error"
    except NoJson:
        made.fault = "sample_parse_error"
    except FormulaError:
        made.fault = "other_error"
    made.seconds = time.perf_counter() - started
    return made


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
