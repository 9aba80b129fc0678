"""Endpoints of graders over real HTTP: what they are asked, and that bad answers only fail a sample."""

import asyncio
import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from core.egress import Egress
from core.endpoints.asking import Credentials, Endpoints
from core.endpoints.tools import ToolCall
from core.graders.endpoint import EndpointFailed, score, scores
from core.graders.sample import Sample
from core.graders.schemas import EndpointGrader
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Reply, Scorer, answer
from tests.fixtures.outside.scorer import score as scored

T = TypeVar("T")
ITEM = {"question": "2 + 2?", "answer": "4"}
FOUR = Sample("4")
CREDENTIALS = Credentials({}, (), lambda: datetime.now(UTC))
CALL = ToolCall("call_1", "weather", '{"city": "Bonn"}')


def grader(scorer: Scorer, **fields: Any) -> EndpointGrader:
    return EndpointGrader.model_validate(scorer.grader(**fields))


def endpoints() -> Endpoints:
    return Endpoints(Egress("127.0.0.1"), 8, 30, pauses=(0.0, 0.0, 0.0))


def run(asked: Awaitable[T]) -> T:
    async def waited() -> T:
        return await asked

    return asyncio.run(waited())


def ask(scorer: Scorer, sample: Sample = FOUR, **fields: Any) -> float:
    return run(score(endpoints(), grader(scorer, **fields), CREDENTIALS, ITEM, sample))


def refused(scorer: Scorer) -> str:
    with pytest.raises(EndpointFailed) as failed:
        ask(scorer)
    message = str(failed.value)
    assert message.startswith("The endpoint of the grader 'remote' gave no score: ")
    return message


@pytest.mark.parametrize(("text", "parsed"), [('{"a": [1]}', {"a": [1]}), ("four", None), ("1e999", None)])
def test_an_endpoint_gets_the_sample_and_the_item_in_azures_form(
    scorer: Scorer, text: str, parsed: Any
) -> None:
    scorer.always = scored(0.75)
    assert ask(scorer, Sample(text)) == 0.75
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


def test_an_endpoint_gets_the_calls_of_tools_as_an_assistants_message_has_them(scorer: Scorer) -> None:
    ask(scorer, Sample("4", (CALL, ToolCall("call_2", "clock", "{"))))
    sent = json.loads(scorer.requests[0].body)["sample"]["output_tools"]
    assert sent == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{"}},
    ]


def test_requests_about_one_sample_share_its_trace_id_and_are_signed_apart(scorer: Scorer) -> None:
    proof = Credentials({}, (new_signing_secret(),), lambda: datetime.now(UTC))
    for sample in (Sample("4", trace_id="trace-1"), Sample("4", trace_id="trace-1"), FOUR, FOUR):
        run(score(endpoints(), grader(scorer), proof, ITEM, sample))
    traces = [json.loads(each.body)["trace_id"] for each in scorer.requests]
    signed = [each.headers["webhook-id"] for each in scorer.requests]
    assert traces[:2] == ["trace-1", "trace-1"]
    assert traces[2:] == signed[2:]
    assert len(set(signed)) == 4


def test_a_grader_has_the_pace_of_its_rate_limit(scorer: Scorer) -> None:
    assert grader(scorer, rate_limit=20).most_per_second == 20
    assert grader(scorer).most_per_second is None


@pytest.mark.parametrize("value", [1, 0, -2.5, 1e14])
def test_any_number_is_a_score(scorer: Scorer, value: float) -> None:
    scorer.always = scored(value)
    found = ask(scorer)
    assert (type(found), found) == (float, value)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(b'{"score": NaN}'), "not JSON"),
        (answer(b'{"score": 1e999}'), "too large"),
        (answer(b'{"score": 1' + b"0" * 400 + b"}"), "too large"),
        (scored("1"), "a string, not a number"),
        (scored("NaN"), "a string, not a number"),
        (scored(True), "a boolean, not a number"),
        (scored([1]), "a list, not a number"),
        (scored({"value": 1}), "an object, not a number"),
        (scored(None), "null, not a number"),
        (answer(b'{"grade": 1}'), "a JSON object with a 'score'"),
        (answer(b"[1]"), "a JSON object with a 'score'"),
        (answer(b"1"), "a JSON object with a 'score'"),
        (answer(b'{"score": 1}', 404), "it answered 404"),
    ],
)
def test_an_answer_that_is_no_score_fails_the_sample_at_once(
    scorer: Scorer, reply: Reply, reason: str
) -> None:
    scorer.always = reply
    assert reason in refused(scorer)
    assert len(scorer.requests) == 1


def test_several_graders_are_asked_at_once_and_one_failure_ends_them(scorer: Scorer) -> None:
    named = {name: (grader(scorer, name=name), CREDENTIALS) for name in ("a", "b")}
    assert run(scores(endpoints(), named, ITEM, FOUR)) == {"a": 0.5, "b": 0.5}
    scorer.replies = [scorer.hang, answer(b"", 404)]
    with pytest.raises(EndpointFailed, match="it answered 404"):
        run(scores(endpoints(), named, ITEM, FOUR))
