"""Asks endpoints of others for the scores of samples: graders of the type `endpoint`, in Azure's form.

An endpoint may be slow, broken or hostile. It gets limited time and requests, and fails only the sample.
"""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from core.egress import Answer, AnswerTooLarge, Egress, EgressRefused, NotAnswered, UnknownHost, send
from core.errors import InvalidRequest, TuneryError
from core.graders.header_values import check_headers
from core.graders.pace import Paces
from core.graders.schemas import EndpointGrader
from core.ids import new_id
from core.signatures import signature_headers
from core.strict_json import refuse_constant
from core.tracing import spans

ENDPOINT_FAULT: Final = "endpoint_grader_error"
MAX_ANSWER = 64 * 1024  # bytes
TOTAL_SECONDS = 600.0  # for all requests about one sample, as at Azure
PAUSES = (1.0, 4.0, 16.0)  # seconds between the requests about one sample, whose number they decide
MOST_SCORE = 1e15  # above and below, sums of scores would lose what tells them apart
JITTER = 0.2  # a pause varies by this share, so that requests that failed together are sent again apart
JSON_TYPES = {bool: "a boolean", str: "a string", list: "a list", dict: "an object", type(None): "null"}


class EndpointFailed(TuneryError):
    """The endpoint gave no score for a sample. `str()` is a sentence that says why."""


class _NoScore(Exception):
    """Why one request gave no score; `str()` is the end of a sentence."""


class _AskAgain(_NoScore):
    """Another request may succeed, after `seconds` at the earliest."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


@dataclass(frozen=True)
class Credentials:
    """What proves to an endpoint who asks: the grader's own headers, and secrets that sign.

    Without secrets, nothing is signed. `now` returns the time of the database's clock.
    """

    headers: Mapping[str, str] = field(repr=False)
    signing_secrets: Sequence[str] = field(repr=False)
    now: Callable[[], datetime]


class EndpointGraders:
    """Asks endpoints. Only the event loop may call."""

    def __init__(
        self,
        egress: Egress,
        at_once: int,
        seconds: float,
        total_seconds: float = TOTAL_SECONDS,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """At most `at_once` requests are under way. One may take `seconds`, and a sample `total_seconds`."""
        self._egress, self._seconds, self._total_seconds = egress, seconds, total_seconds
        self._pauses = pauses
        self._room = asyncio.Semaphore(at_once)
        self._paces = Paces()

    async def score(
        self, grader: EndpointGrader, credentials: Credentials, item: Any, text: str, whose: str = ""
    ) -> float:
        """Return the score of a sample. Raises EndpointFailed.

        The rate limit of an address counts for all graders of `whose`, such as a project.
        """
        trace_id = new_id("grade_")
        ends_at = time.monotonic() + self._total_seconds
        try:
            body = _body(item, text, trace_id)
            async with asyncio.timeout(self._total_seconds):
                return await self._asked(grader, credentials, trace_id, body, whose, ends_at)
        except _NoScore as error:
            raise _failed(grader, str(error)) from error
        except TimeoutError as error:
            raise _failed(grader, f"it had {self._total_seconds:g} s for the sample") from error

    async def scores(
        self, graders: Mapping[str, tuple[EndpointGrader, Credentials]], item: Any, text: str, whose: str = ""
    ) -> dict[str, float]:
        """Return the scores that several graders give a sample, by their names. Raises EndpointFailed."""
        try:
            async with asyncio.TaskGroup() as group:
                asked = {
                    name: group.create_task(self.score(*grader, item, text, whose))
                    for name, grader in graders.items()
                }
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return {name: task.result() for name, task in asked.items()}

    async def _asked(
        self,
        grader: EndpointGrader,
        credentials: Credentials,
        trace_id: str,
        body: bytes,
        whose: str,
        ends_at: float,
    ) -> float:
        pace = self._paces.of(whose, grader.url)
        pauses = list(self._pauses)
        while True:
            await pace.turn(grader.rate_limit)
            try:
                async with self._room:
                    headers = _headers(credentials, trace_id, body)
                    return await _in_thread(partial(self._request, grader.url, headers, body))
            except _AskAgain as error:
                if not pauses:
                    raise _NoScore(f"{error}, after {len(self._pauses) + 1} requests") from error
                pace.rest(error.seconds)
                seconds = max(pauses.pop(0) * random.uniform(1 - JITTER, 1 + JITTER), error.seconds)  # noqa: S311
                if time.monotonic() + seconds > ends_at:
                    raise _NoScore(f"{error}, and no time is left to ask again") from error
            await asyncio.sleep(seconds)

    def _request(self, url: str, headers: Mapping[str, str], body: bytes) -> float:
        """Make one request, and return the score. Raises _NoScore. It blocks for up to `self._seconds`."""
        try:
            answer = send(self._egress, "POST", url, headers, body, self._seconds, MAX_ANSWER)
        except (EgressRefused, UnknownHost, AnswerTooLarge) as error:
            raise _NoScore(str(error)) from error
        except NotAnswered as error:
            raise _AskAgain(str(error)) from error
        return _score_of(answer)


async def _in_thread(request: Callable[[], float]) -> float:
    """Return what the request returns. If the caller is cancelled, the request goes on alone.

    Its thread is a daemon, so that an endpoint that hangs keeps no process from ending.
    """
    made: Future[float] = Future()

    def make() -> None:
        try:
            made.set_result(request())
        except BaseException as error:
            made.set_exception(error)

    made.set_running_or_notify_cancel()
    threading.Thread(target=make, name="endpoint", daemon=True).start()
    return await asyncio.wrap_future(made)


def _headers(credentials: Credentials, trace_id: str, body: bytes) -> dict[str, str]:
    headers = {
        **credentials.headers,
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Tunery-Graders",
        **spans.outgoing(),
    }
    if credentials.signing_secrets:
        headers |= signature_headers(trace_id, body, credentials.signing_secrets, credentials.now())
    return headers


def check_endpoint(egress: Egress, grader: EndpointGrader, param: str) -> None:
    """Raise InvalidRequest if requests may not go to the address, or if a header cannot be sent.

    `param` is the grader's place in the request.
    """
    check_headers(grader.headers or {}, f"{param}.headers")
    try:
        egress.check_url(grader.url)
    except EgressRefused as error:
        message = f"The address is refused: {error}."
        raise InvalidRequest(message, code="invalid_url", param=f"{param}.url") from error


def _body(item: Any, text: str, trace_id: str) -> bytes:
    """Return the body of a request. `sample` is what Python graders get. Raises _NoScore."""
    try:
        parsed = json.loads(text)
        json.dumps(parsed, allow_nan=False)
    except (ValueError, RecursionError):
        parsed = None
    message = {"role": "assistant", "content": text}
    sample = {
        "output_text": text,
        "output_json": parsed,
        "output_tools": [],
        "choices": [{"index": 0, "message": message}],
    }
    try:
        return json.dumps({"sample": sample, "item": item, "trace_id": trace_id}, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise _NoScore("the row cannot be written as JSON") from error


def _score_of(answer: Answer) -> float:
    """Return the score in an answer. Raises _NoScore."""
    if answer.status == 429 or answer.status >= 500:
        raise _AskAgain(f"it answered {answer.status}", _retry_after(answer))
    if 300 <= answer.status < 400:
        raise _NoScore(f"it answered {answer.status}, and redirects are not followed")
    if not 200 <= answer.status < 300:
        raise _NoScore(f"it answered {answer.status}")
    try:
        found = json.loads(answer.body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _NoScore("its answer is not JSON") from error
    if not isinstance(found, dict) or "score" not in found:
        raise _NoScore("its answer is not a JSON object with a 'score'")
    score = found["score"]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise _NoScore(f"its 'score' is {JSON_TYPES[type(score)]}, not a number")
    try:
        value = float(score)
    except OverflowError:
        value = float("inf")
    if not abs(value) <= MOST_SCORE:
        raise _NoScore("its 'score' is too large")
    return value


def _retry_after(answer: Answer) -> float:
    """Return the seconds that the answer asks to wait, which are a number or end at a date."""
    asked = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
    if asked.isdecimal() and len(asked) < 10:
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _failed(grader: EndpointGrader, reason: str) -> EndpointFailed:
    return EndpointFailed(f"The endpoint of the grader '{grader.name}' gave no score: {reason}.")
