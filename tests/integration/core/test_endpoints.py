"""Endpoints over real HTTP: how they are asked, and that a bad one gets little time and few requests."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import pytest
from standardwebhooks import Webhook

from core.egress import Egress
from core.endpoints.asking import MAX_ANSWER, Credentials, Endpoints, NotUsable, Question, Refused
from core.endpoints.schemas import Address, Endpoint
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Reply, Scorer, answer, bomb, drip, flood, reset

T = TypeVar("T")
ANSWER = {"score": 0.5}
QUESTION = Question("asked-1", {"text": "4"})
NO_PAUSES = (0.0, 0.0, 0.0)


class Paced(Endpoint):
    """An endpoint of no special kind."""

    address_field: ClassVar[str] = "url"

    url: Address
    rate: int | None = None

    @property
    def most_per_second(self) -> int | None:
        return self.rate


def credentials(headers: dict[str, str] | None = None, *secrets: str) -> Credentials:
    return Credentials(headers or {}, secrets, lambda: datetime.now(UTC))


def endpoints(allowed: str | None = "127.0.0.1", seconds: float = 30, **options: Any) -> Endpoints:
    return Endpoints(Egress(allowed), 8, seconds, **{"pauses": NO_PAUSES, **options})


def run(asked: Awaitable[T]) -> T:
    async def waited() -> T:
        return await asked

    return asyncio.run(waited())


def ask(scorer: Scorer, by: Endpoints | None = None, question: Question = QUESTION) -> Any:
    return run((by or endpoints()).ask(Paced(url=scorer.url), credentials(), question))


def refused(scorer: Scorer, by: Endpoints | None = None) -> str:
    with pytest.raises(NotUsable) as failed:
        ask(scorer, by)
    return str(failed.value)


def test_an_endpoint_gets_json_and_its_answer_is_read(scorer: Scorer) -> None:
    assert ask(scorer) == ANSWER
    (request,) = scorer.requests
    assert json.loads(request.body) == QUESTION.body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "webhook-signature" not in request.headers


def test_a_request_has_the_endpoints_headers_and_a_signature_of_each_secret(scorer: Scorer) -> None:
    secrets = new_signing_secret(), new_signing_secret()
    proof = credentials({"Authorization": "Bearer abc"}, *secrets)
    assert run(endpoints().ask(Paced(url=scorer.url), proof, QUESTION)) == ANSWER
    (request,) = scorer.requests
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["webhook-id"] == QUESTION.id
    for secret in secrets:
        Webhook(secret).verify(request.body, request.headers)
    assert "abc" not in repr(proof)
    assert secrets[0] not in repr(proof)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(b'{"score": NaN}'), "not JSON"),
        (answer(b'{"score": -Infinity}'), "not JSON"),
        (answer(b""), "not JSON"),
        (answer(b"<html>"), "not JSON"),
        (answer(b"\xff\xfe{"), "not JSON"),
        (answer(b"[" * 60_000), "not JSON"),
        (bomb, "not JSON"),
        (flood, f"more than {MAX_ANSWER} bytes"),
        (answer(b" " * (MAX_ANSWER + 1)), f"more than {MAX_ANSWER} bytes"),
        (answer(b"", 302, location="http://10.0.0.1/"), "redirects are not followed"),
        (answer(b"", 307, location="/elsewhere"), "redirects are not followed"),
        (answer(b'{"score": 1}', 401), "it answered 401"),
        (answer(b'{"score": 1}', 404), "it answered 404"),
    ],
)
def test_what_will_not_pass_is_asked_once(scorer: Scorer, reply: Reply, reason: str) -> None:
    scorer.always = reply
    assert reason in refused(scorer)
    assert len(scorer.requests) == 1


def test_a_question_that_is_refused_comes_back_with_the_endpoints_words(scorer: Scorer) -> None:
    scorer.always = answer(b"no such city", 422)
    with pytest.raises(Refused) as failed:
        ask(scorer)
    assert failed.value.body == b"no such city"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_cannot_be_written_as_json_is_not_asked(scorer: Scorer, value: float) -> None:
    with pytest.raises(NotUsable, match="cannot be written as JSON"):
        ask(scorer, question=Question("asked-2", {"item": value}))
    assert scorer.requests == []


@pytest.mark.parametrize(
    "reply", [answer(b"", 500), answer(b"", 503), answer(b"", 429), answer(b"", 408), reset]
)
def test_what_may_pass_is_asked_three_times_more_with_the_same_body(scorer: Scorer, reply: Reply) -> None:
    scorer.replies = [reply] * 3
    assert ask(scorer) == ANSWER
    assert len(scorer.requests) == 4
    assert len({request.body for request in scorer.requests}) == 1
    scorer.replies = [reply] * 4
    assert "after 4 requests" in refused(scorer)
    assert len(scorer.requests) == 8


@pytest.mark.parametrize("header", ["1", datetime.now(UTC).strftime("%a, %d %b %Y 00:00:00 GMT"), "soon"])
def test_an_endpoint_is_given_the_time_that_it_asks_for(scorer: Scorer, header: str) -> None:
    scorer.replies = [answer(b"", 429, retry_after=header)]
    began = time.monotonic()
    assert ask(scorer) == ANSWER
    assert time.monotonic() - began >= (1 if header == "1" else 0)


def test_an_endpoint_that_asks_for_more_time_than_there_is_fails_at_once(scorer: Scorer) -> None:
    scorer.always = answer(b"", 503, retry_after="3600")
    began = time.monotonic()
    assert "no time is left to ask again" in refused(scorer)
    assert time.monotonic() - began < 20
    assert len(scorer.requests) == 1


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_an_endpoint_that_does_not_end_is_cut_off_and_asked_again(scorer: Scorer, how: str) -> None:
    scorer.replies = [scorer.hang if how == "hangs" else drip]
    assert ask(scorer, endpoints(seconds=0.5)) == ANSWER
    assert len(scorer.requests) == 2


def test_all_requests_of_a_question_together_have_limited_time(scorer: Scorer) -> None:
    scorer.always = scorer.hang
    began = time.monotonic()
    assert "it had 1 s for all requests" in refused(scorer, endpoints(total_seconds=1))
    assert time.monotonic() - began < 20


def test_nobody_waits_for_an_endpoint_that_hangs_once_the_question_is_given_up(scorer: Scorer) -> None:
    scorer.always = scorer.hang

    async def cancelled() -> None:
        task = asyncio.create_task(endpoints().ask(Paced(url=scorer.url), credentials(), QUESTION))
        while not scorer.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait_for(asyncio.wait([task]), 10)
        assert task.cancelled()

    asyncio.run(cancelled())


def test_an_endpoint_that_hangs_keeps_no_process_from_ending(scorer: Scorer) -> None:
    scorer.always = scorer.hang
    code = f"""
import asyncio
from core.egress import Egress
from core.endpoints.asking import Credentials, Endpoints, Question
from core.endpoints.tools import EndpointTool
tool = EndpointTool(name="slow", server_url={scorer.url!r})
asked = Endpoints(Egress("127.0.0.1"), 1, 600).ask(tool, Credentials({{}}, (), None), Question("a", {{}}))
asyncio.run(asyncio.wait_for(asked, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "TimeoutError" in done.stderr


def test_other_questions_rest_too_when_an_endpoint_asks_for_time(scorer: Scorer) -> None:
    scorer.replies = [answer(b"", 429, retry_after="1")]

    async def one_after_another(by: Endpoints) -> float:
        first = asyncio.create_task(by.ask(Paced(url=scorer.url), credentials(), QUESTION))
        while not scorer.requests:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await asyncio.sleep(0.3)
        await by.ask(Paced(url=scorer.url), credentials(), QUESTION)
        waited = time.monotonic() - began
        await first
        return waited

    assert asyncio.run(one_after_another(endpoints())) >= 0.9


def test_no_more_requests_a_second_are_sent_than_the_endpoint_allows(scorer: Scorer) -> None:
    async def several(by: Endpoints, count: int) -> None:
        paced = Paced(url=scorer.url, rate=20)
        await asyncio.gather(*(by.ask(paced, credentials(), QUESTION) for _ in range(count)))

    began = time.monotonic()
    asyncio.run(several(endpoints(), 11))
    assert time.monotonic() - began >= 10 / 20
    assert len(scorer.requests) == 11


def test_one_owner_of_an_address_does_not_wait_for_another(scorer: Scorer) -> None:
    async def several(by: Endpoints) -> None:
        paced = Paced(url=scorer.url, rate=1)
        await asyncio.gather(*(by.ask(paced, credentials(), QUESTION, whose) for whose in "abcdefgh"))

    began = time.monotonic()
    asyncio.run(several(endpoints()))
    assert time.monotonic() - began < 7


@pytest.mark.parametrize("allowed", [None, "10.0.0.0/8"])
def test_no_request_goes_to_a_private_address(scorer: Scorer, allowed: str | None) -> None:
    assert "127.0.0.1 is not a public address" in refused(scorer, endpoints(allowed))
    assert scorer.requests == []
