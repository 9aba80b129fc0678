"""Asks programs of others, by POST requests of JSON, which are signed, paced and repeated.

An endpoint may be slow, broken or hostile. It gets limited time and requests.
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
from typing import Any, TypeVar

from core.egress import Answer, AnswerTooLarge, Egress, EgressRefused, NotAnswered, UnknownHost, send
from core.endpoints.pace import Paces
from core.endpoints.schemas import Endpoint
from core.signatures import signature_headers
from core.strict_json import refuse_constant
from core.tracing import spans

MAX_ANSWER = 64 * 1024  # bytes
TOTAL_SECONDS = 600.0  # for all requests of one question, as at Azure
PAUSES = (1.0, 4.0, 16.0)  # seconds between the requests of one question, whose number they decide
JITTER = 0.2  # a pause varies by this share, so that requests that failed together are sent again apart
PASSING = (408, 429)  # statuses below 500 after which another request may succeed

T = TypeVar("T")


class NotUsable(Exception):
    """Why an endpoint gave no answer that can be used; `str()` is the end of a sentence."""


class AskAgain(NotUsable):
    """Another request may succeed, after `seconds` at the earliest."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Refused(NotUsable):
    """The endpoint answered with a `status` from 400 to 499, and the `body`: the question is at fault."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"it answered {status}")
        self.status, self.body = status, body


@dataclass(frozen=True)
class Credentials:
    """What proves to an endpoint who asks: the endpoint's own headers, and secrets that sign.

    Without secrets, nothing is signed. `now` returns the time of the database's clock.
    """

    headers: Mapping[str, str] = field(repr=False)
    signing_secrets: Sequence[str] = field(repr=False)
    now: Callable[[], datetime]


@dataclass(frozen=True)
class Question:
    """What an endpoint is asked: a body that is written as JSON.

    All requests of a question have the same `id`, which their signatures name, and the same body. The answer
    may have `most_bytes`.
    """

    id: str
    body: Mapping[str, Any]
    most_bytes: int = MAX_ANSWER

    def content(self) -> bytes:
        """Return the body of the requests. Raises NotUsable."""
        try:
            return json.dumps(self.body, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            raise NotUsable("the row cannot be written as JSON") from error


class Endpoints:
    """Asks endpoints. Only the event loop may call."""

    def __init__(
        self,
        egress: Egress,
        at_once: int,
        seconds: float,
        total_seconds: float = TOTAL_SECONDS,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """At most `at_once` requests are under way.

        One request may take `seconds`, and all requests of a question `total_seconds`.
        """
        self._egress, self._seconds, self._total_seconds = egress, seconds, total_seconds
        self._pauses = pauses
        self._room = asyncio.Semaphore(at_once)
        self._paces = Paces()

    async def ask(
        self, endpoint: Endpoint, credentials: Credentials, question: Question, whose: str = ""
    ) -> Any:
        """Return the JSON that an endpoint answers. Raises NotUsable, and Refused if it was a 4xx.

        The most requests per second of an address count for all endpoints of `whose`, such as a project.
        """
        content = question.content()
        ends_at = time.monotonic() + self._total_seconds
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._asked(endpoint, credentials, question, content, whose, ends_at)
        except TimeoutError as error:
            raise NotUsable(f"it had {self._total_seconds:g} s for all requests") from error

    async def _asked(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        question: Question,
        content: bytes,
        whose: str,
        ends_at: float,
    ) -> Any:
        pace = self._paces.of(whose, endpoint.address)
        pauses = list(self._pauses)
        while True:
            await pace.turn(endpoint.most_per_second)
            try:
                async with self._room:
                    headers = _headers(credentials, question.id, content)
                    request = partial(self._request, endpoint.address, headers, content, question.most_bytes)
                    return await _in_thread(request)
            except AskAgain as error:
                if not pauses:
                    raise NotUsable(f"{error}, after {len(self._pauses) + 1} requests") from error
                pace.rest(error.seconds)
                seconds = max(pauses.pop(0) * random.uniform(1 - JITTER, 1 + JITTER), error.seconds)  # noqa: S311
                if time.monotonic() + seconds > ends_at:
                    raise NotUsable(f"{error}, and no time is left to ask again") from error
            await asyncio.sleep(seconds)

    def _request(self, address: str, headers: Mapping[str, str], content: bytes, most_bytes: int) -> Any:
        """Make one request, and return the JSON of its answer. It blocks for up to `self._seconds`.

        Raises NotUsable.
        """
        try:
            answer = send(self._egress, "POST", address, headers, content, self._seconds, most_bytes)
        except (EgressRefused, UnknownHost, AnswerTooLarge) as error:
            raise NotUsable(str(error)) from error
        except NotAnswered as error:
            raise AskAgain(str(error)) from error
        return _json_of(answer)


async def _in_thread(request: Callable[[], T]) -> T:
    """Return what the request returns. If the caller is cancelled, the request goes on alone.

    Its thread is a daemon, so that an endpoint that hangs keeps no process from ending.
    """
    made: Future[T] = Future()

    def make() -> None:
        try:
            made.set_result(request())
        except BaseException as error:
            made.set_exception(error)

    made.set_running_or_notify_cancel()
    threading.Thread(target=make, name="endpoint", daemon=True).start()
    return await asyncio.wrap_future(made)


def _headers(credentials: Credentials, question_id: str, content: bytes) -> dict[str, str]:
    headers = {
        **credentials.headers,
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "Tunery",
        **spans.outgoing(),
    }
    if credentials.signing_secrets:
        headers |= signature_headers(question_id, content, credentials.signing_secrets, credentials.now())
    return headers


def _json_of(answer: Answer) -> Any:
    """Return the JSON of an answer. Raises NotUsable."""
    status = answer.status
    if status in PASSING or status >= 500:
        raise AskAgain(f"it answered {status}", _retry_after(answer))
    if 300 <= status < 400:
        raise NotUsable(f"it answered {status}, and redirects are not followed")
    if status >= 400:
        raise Refused(status, answer.body)
    if status < 200:
        raise NotUsable(f"it answered {status}")
    try:
        return json.loads(answer.body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotUsable("its answer is not JSON") from error


def _retry_after(answer: Answer) -> float:
    """Return the seconds that the answer asks to wait, which are a number or end at a date."""
    asked = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
    if asked.isdecimal() and len(asked) < 10:
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
