"""Endpoints of graders over real HTTP: what they are asked, and that bad answers only fail a sample."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook

from core.egress import Egress
from core.graders.endpoint import MAX_ANSWER, Credentials, EndpointFailed, EndpointGraders
from core.graders.schemas import EndpointGrader
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Reply, Scorer, answer, bomb, drip, flood, reset, score

T = TypeVar("T")
ITEM = {"question": "2 + 2?", "answer": "4"}
NO_PAUSES = (0.0, 0.0, 0.0)


def credentials(headers: dict[str, str] | None = None, *secrets: str) -> Credentials:
    return Credentials(headers or {}, secrets, lambda: datetime.now(UTC))


def grader(scorer: Scorer, **fields: Any) -> EndpointGrader:
    return EndpointGrader.model_validate(scorer.grader(**fields))


def graders(allowed: str | None = "127.0.0.1", seconds: float = 30, **options: Any) -> EndpointGraders:
    return EndpointGraders(Egress(allowed), 8, seconds, **{"pauses": NO_PAUSES, **options})


def run(asked: Awaitable[T]) -> T:
    async def waited() -> T:
        return await asked

    return asyncio.run(waited())


def ask(scorer: Scorer, by: EndpointGraders | None = None, text: str = "4", **fields: Any) -> float:
    return run((by or graders()).score(grader(scorer, **fields), credentials(), ITEM, text))


def refused(scorer: Scorer, by: EndpointGraders | None = None, **fields: Any) -> str:
    with pytest.raises(EndpointFailed) as failed:
        ask(scorer, by, **fields)
    message = str(failed.value)
    assert message.startswith("The endpoint of the grader 'remote' gave no score: ")
    return message


@pytest.mark.parametrize(("text", "parsed"), [('{"a": [1]}', {"a": [1]}), ("four", None), ("1e999", None)])
def test_an_endpoint_gets_the_sample_and_the_item_in_azures_form(
    scorer: Scorer, text: str, parsed: Any
) -> None:
    scorer.always = score(0.75)
    assert ask(scorer, text=text) == 0.75
    (request,) = scorer.requests
    sent = json.loads(request.body)
    assert set(sent) == {"sample", "item", "trace_id"}
    assert sent["item"] == ITEM
    assert sent["trace_id"]
    assert sent["sample"] == {
        "output_text": text,
        "output_json": parsed,
        "output_tools": [],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "webhook-signature" not in request.headers


def test_a_request_has_the_graders_headers_and_a_signature_of_each_secret(scorer: Scorer) -> None:
    secrets = new_signing_secret(), new_signing_secret()
    proof = credentials({"Authorization": "Bearer abc"}, *secrets)
    assert run(graders().score(grader(scorer), proof, ITEM, "4")) == 0.5
    (request,) = scorer.requests
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["webhook-id"] == json.loads(request.body)["trace_id"]
    for secret in secrets:
        Webhook(secret).verify(request.body, request.headers)
    assert "abc" not in repr(proof)
    assert secrets[0] not in repr(proof)


@pytest.mark.parametrize("value", [1, 0, -2.5, 1e14])
def test_any_number_is_a_score(scorer: Scorer, value: float) -> None:
    scorer.always = score(value)
    found = ask(scorer)
    assert (type(found), found) == (float, value)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(b'{"score": NaN}'), "not JSON"),
        (answer(b'{"score": -Infinity}'), "not JSON"),
        (answer(b'{"score": 1e999}'), "too large"),
        (answer(b'{"score": 1' + b"0" * 400 + b"}"), "too large"),
        (score("1"), "a string, not a number"),
        (score("NaN"), "a string, not a number"),
        (score(True), "a boolean, not a number"),
        (score([1]), "a list, not a number"),
        (score({"value": 1}), "an object, not a number"),
        (score(None), "null, not a number"),
        (answer(b'{"grade": 1}'), "a JSON object with a 'score'"),
        (answer(b"[1]"), "a JSON object with a 'score'"),
        (answer(b"1"), "a JSON object with a 'score'"),
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
def test_an_answer_that_is_no_score_fails_the_sample_at_once(
    scorer: Scorer, reply: Reply, reason: str
) -> None:
    scorer.always = reply
    assert reason in refused(scorer)
    assert len(scorer.requests) == 1


@pytest.mark.parametrize("reply", [answer(b"", 500), answer(b"", 503), answer(b"", 429), reset])
def test_what_may_pass_is_asked_three_times_more_with_the_same_body(scorer: Scorer, reply: Reply) -> None:
    scorer.replies = [reply] * 3
    assert ask(scorer) == 0.5
    assert len(scorer.requests) == 4
    assert len({request.body for request in scorer.requests}) == 1
    scorer.replies = [reply] * 4
    assert "after 4 requests" in refused(scorer)
    assert len(scorer.requests) == 8


@pytest.mark.parametrize("header", ["1", datetime.now(UTC).strftime("%a, %d %b %Y 00:00:00 GMT"), "soon"])
def test_an_endpoint_is_given_the_time_that_it_asks_for(scorer: Scorer, header: str) -> None:
    scorer.replies = [answer(b"", 429, retry_after=header)]
    began = time.monotonic()
    assert ask(scorer) == 0.5
    assert time.monotonic() - began >= (1 if header == "1" else 0)


def test_an_endpoint_that_asks_for_more_time_than_there_is_fails_the_sample_at_once(scorer: Scorer) -> None:
    scorer.always = answer(b"", 503, retry_after="3600")
    began = time.monotonic()
    assert "no time is left to ask again" in refused(scorer)
    assert time.monotonic() - began < 20
    assert len(scorer.requests) == 1


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_an_endpoint_that_does_not_end_is_cut_off_and_asked_again(scorer: Scorer, how: str) -> None:
    scorer.replies = [scorer.hang if how == "hangs" else drip]
    assert ask(scorer, graders(seconds=0.5)) == 0.5
    assert len(scorer.requests) == 2


def test_all_requests_about_a_sample_together_have_limited_time(scorer: Scorer) -> None:
    scorer.always = scorer.hang
    began = time.monotonic()
    assert "it had 1 s for the sample" in refused(scorer, graders(total_seconds=1))
    assert time.monotonic() - began < 20


def test_nobody_waits_for_an_endpoint_that_hangs_once_the_sample_is_given_up(scorer: Scorer) -> None:
    scorer.always = scorer.hang

    async def cancelled() -> None:
        task = asyncio.create_task(graders().score(grader(scorer), credentials(), ITEM, "4"))
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
from core.graders.endpoint import Credentials, EndpointGraders
from core.graders.schemas import EndpointGrader
grader = EndpointGrader.model_validate({scorer.grader()!r})
graders = EndpointGraders(Egress("127.0.0.1"), 1, 600)
asyncio.run(asyncio.wait_for(graders.score(grader, Credentials({{}}, (), None), {{}}, "4"), 1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "TimeoutError" in done.stderr


def test_other_samples_rest_too_when_an_endpoint_asks_for_time(scorer: Scorer) -> None:
    scorer.replies = [answer(b"", 429, retry_after="1")]

    async def one_after_another(by: EndpointGraders) -> float:
        first = asyncio.create_task(by.score(grader(scorer), credentials(), ITEM, "4"))
        while not scorer.requests:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await asyncio.sleep(0.3)
        await by.score(grader(scorer), credentials(), ITEM, "4")
        waited = time.monotonic() - began
        await first
        return waited

    assert asyncio.run(one_after_another(graders())) >= 0.9


def test_no_more_requests_a_second_are_sent_than_the_rate_limit_allows(scorer: Scorer) -> None:
    async def several(by: EndpointGraders, count: int) -> None:
        limited = grader(scorer, rate_limit=20)
        await asyncio.gather(*(by.score(limited, credentials(), ITEM, "4") for _ in range(count)))

    began = time.monotonic()
    asyncio.run(several(graders(), 11))
    assert time.monotonic() - began >= 10 / 20
    assert len(scorer.requests) == 11


def test_one_owner_of_an_address_does_not_wait_for_another(scorer: Scorer) -> None:
    async def several(by: EndpointGraders) -> None:
        limited = grader(scorer, rate_limit=1)
        await asyncio.gather(*(by.score(limited, credentials(), ITEM, "4", whose) for whose in "abcdefgh"))

    began = time.monotonic()
    asyncio.run(several(graders()))
    assert time.monotonic() - began < 7


@pytest.mark.parametrize("allowed", [None, "10.0.0.0/8"])
def test_no_request_goes_to_a_private_address(scorer: Scorer, allowed: str | None) -> None:
    assert "127.0.0.1 is not a public address" in refused(scorer, graders(allowed))
    assert scorer.requests == []


def test_several_graders_are_asked_at_once_and_one_failure_ends_them(scorer: Scorer) -> None:
    named = {name: (grader(scorer, name=name), credentials()) for name in ("a", "b")}
    assert run(graders().scores(named, ITEM, "4")) == {"a": 0.5, "b": 0.5}
    scorer.replies = [scorer.hang, answer(b"", 404)]
    with pytest.raises(EndpointFailed, match="it answered 404"):
        run(graders().scores(named, ITEM, "4"))
