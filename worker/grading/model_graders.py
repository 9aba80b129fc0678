"""Graders that ask a model for a label or for a score.

The answer must be one of a list, so it always parses.
"""

import json
from math import ceil, log10
from typing import Any, NamedTuple

from core.graders.sample import Sample
from core.graders.schemas import LabelModelGrader, ModelGrader, ScoreModelGrader
from core.serving.served_model import ServedModel
from worker.grading.answers import answer
from worker.grading.asking import Asking
from worker.grading.messages import rendered
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums

DEFAULT_RANGE = (0.0, 1.0)
STEPS_EXPONENT = 2  # a range has 11 to 101 scores, in steps of a power of ten


class Opinion(NamedTuple):
    """What a grader's model says of a row: its score, whether the row passes, and its answer as a sample."""

    score: float
    passed: bool
    sample: dict[str, Any]


class ModelGraders:
    """Asks the models of graders. `models` has what a server loads for each, by its name in the graders."""

    def __init__(self, asking: Asking, models: dict[str, ServedModel]) -> None:
        self._asking, self._models = asking, models

    async def judge(
        self, grader: ModelGrader, index: int, item: dict[str, Any], sample: Sample, usage: UsageSums
    ) -> Opinion:
        """Return the opinion of a grader's model. Raises RowFailed, and what `Asking.ask` raises."""
        name, choices = ("label", grader.labels) if isinstance(grader, LabelModelGrader) else _scores(grader)
        asked = {
            "model": grader.model,
            "messages": rendered(grader.input, item, sample),
            "response_format": _one_of(name, choices),
            **_sampling(grader, index),
        }
        found = await answer(self._asking, self._models[grader.model], grader.model, asked, usage)
        try:
            value = json.loads(found["output"][0]["content"])[name]
        except (ValueError, LookupError, TypeError) as error:
            reason = f"The answer of the grader '{grader.name}' was cut off before its {name}."
            raise RowFailed("grader_answer_cut_off", reason) from error
        if isinstance(grader, LabelModelGrader):
            passed = value in grader.passing_labels
            return Opinion(float(passed), passed, found)
        threshold = getattr(grader, "pass_threshold", None)
        return Opinion(float(value), threshold is None or value >= threshold, found)


def scores_between(low: float, high: float) -> list[float]:
    """Return the scores that a model may give: from `low` to `high`, in steps of a power of ten."""
    if high <= low:
        return [low]
    digits = STEPS_EXPONENT - ceil(log10(high - low))
    step = 10.0**-digits
    count = int((high - low) / step + 1e-9)
    inner = [round(low + position * step, max(0, digits) + 6) for position in range(count + 1)]
    return inner if inner[-1] == high else [*inner, high]


def _scores(grader: ScoreModelGrader) -> tuple[str, list[float]]:
    low, high = grader.range or DEFAULT_RANGE
    values = scores_between(low, high)
    return "score", [int(value) if value == int(value) else value for value in values]


def _one_of(name: str, choices: list[Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"enum": choices}},
        "required": [name],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def _sampling(grader: ModelGrader, index: int) -> dict[str, Any]:
    """Return the parameters of a grader's request. Graders are greedy unless they set a temperature."""
    asked = getattr(grader, "sampling_params", None)
    first = (asked.seed if asked else None) or 0
    found: dict[str, Any] = {"seed": first + index, "temperature": 0.0}
    if asked is not None:
        given = {
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "max_completion_tokens": asked.max_completions_tokens,
        }
        found |= {name: value for name, value in given.items() if value is not None}
    return found
