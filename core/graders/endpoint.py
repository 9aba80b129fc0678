"""Asks endpoints of others for the scores of samples: graders of the type `endpoint`, in Azure's form.

An endpoint that gives no score fails only the sample.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from core.endpoints.asking import Credentials, Endpoints, NotUsable, Question
from core.errors import TuneryError
from core.graders.sample import NoJson, Sample
from core.graders.schemas import EndpointGrader
from core.ids import new_id

ENDPOINT_FAULT: Final = "endpoint_grader_error"
MOST_SCORE = 1e15  # above and below, sums of scores would lose what tells them apart
JSON_TYPES = {bool: "a boolean", str: "a string", list: "a list", dict: "an object", type(None): "null"}


class EndpointFailed(TuneryError):
    """The endpoint gave no score for a sample. `str()` is a sentence that says why."""


async def score(
    endpoints: Endpoints,
    grader: EndpointGrader,
    credentials: Credentials,
    item: Any,
    sample: Sample,
    whose: str = "",
) -> float:
    """Return the score that a grader gives a sample. Raises EndpointFailed.

    The rate limit of an address counts for all graders of `whose`, such as a project.
    """
    asked = new_id("grade_")
    trace_id = sample.trace_id or asked
    body = {"sample": _given(sample), "item": item, "trace_id": trace_id}
    try:
        return _score_of(await endpoints.ask(grader, credentials, Question(asked, body), whose))
    except NotUsable as error:
        raise EndpointFailed(f"The endpoint of the grader '{grader.name}' gave no score: {error}.") from error


async def scores(
    endpoints: Endpoints,
    graders: Mapping[str, tuple[EndpointGrader, Credentials]],
    item: Any,
    sample: Sample,
    whose: str = "",
) -> dict[str, float]:
    """Return the scores that several graders give a sample, by their names. Raises EndpointFailed."""
    try:
        async with asyncio.TaskGroup() as group:
            asked = {
                name: group.create_task(score(endpoints, *grader, item, sample, whose))
                for name, grader in graders.items()
            }
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return {name: task.result() for name, task in asked.items()}


def _given(sample: Sample) -> dict[str, Any]:
    """Return the sample as Python graders get it. A text that is not strict JSON has no `output_json`."""
    try:
        parsed = sample.parsed
        json.dumps(parsed, allow_nan=False)
    except (NoJson, ValueError, RecursionError):
        parsed = None
    return {**sample.fields, "output_json": parsed}


def _score_of(answer: Any) -> float:
    """Return the score in an answer. Raises NotUsable."""
    if not isinstance(answer, dict) or "score" not in answer:
        raise NotUsable("its answer is not a JSON object with a 'score'")
    found = answer["score"]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise NotUsable(f"its 'score' is {JSON_TYPES[type(found)]}, not a number")
    try:
        value = float(found)
    except OverflowError:
        value = float("inf")
    if not abs(value) <= MOST_SCORE:
        raise NotUsable("its 'score' is too large")
    return value
