"""Calls of tools over real HTTP: what the tool gets, and what the model is shown of its answer."""

import asyncio
import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook

from core.access.projects import create_project
from core.database import create_database, session_factory
from core.egress import Egress
from core.endpoints.asking import Credentials, Endpoints
from core.endpoints.tools import EndpointTool, ToolCall
from core.errors import JobError
from core.ids import new_id
from core.secrets.endpoint_headers import SIGNING_SECRET, with_sealed_headers
from core.secrets.vault import Vault
from core.settings import Settings
from core.tables import Secret
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Reply, Scorer, answer, reset
from worker.grading.graded import TOOL_FAULT
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.row_failed import RowFailed
from worker.grading.tool_calls import MAX_ANSWER, MAX_OUTPUT, MAX_REFUSAL, ToolFailed, call_tool

T = TypeVar("T")
CALL = ToolCall("call_7", "weather", '{"city": "Bonn"')  # as the model wrote it, without its end
ITEM = {"question": "Does it rain?"}
KEY = Vault.new_key()


def replied(**fields: Any) -> Reply:
    return answer(json.dumps(fields).encode())


def tool(scorer: Scorer, **fields: Any) -> EndpointTool:
    return EndpointTool.model_validate({"name": "weather", "server_url": f"{scorer.url}/call", **fields})


def run(asked: Awaitable[T]) -> T:
    async def waited() -> T:
        return await asked

    return asyncio.run(waited())


def call(scorer: Scorer, seconds: float = 30) -> str:
    credentials = Credentials({}, (), lambda: datetime.now(UTC))
    endpoints = Endpoints(Egress("127.0.0.1"), 8, seconds, pauses=(0.0, 0.0, 0.0))
    return run(call_tool(endpoints, tool(scorer), credentials, CALL, ITEM, "trace-1"))


def failed(scorer: Scorer, **options: Any) -> str:
    with pytest.raises(ToolFailed) as raised:
        call(scorer, **options)
    message = str(raised.value)
    assert message.startswith("The tool 'weather' gave no output: ")
    return message


def test_a_tool_gets_the_call_as_the_model_wrote_it_in_azures_form(scorer: Scorer) -> None:
    scorer.always = replied(output="rain")
    call(scorer)
    (request,) = scorer.requests
    assert request.path == "/call"
    assert json.loads(request.body) == {
        "type": "function_call",
        "id": "call_7",
        "call_id": "call_7",
        "name": "weather",
        "arguments": '{"city": "Bonn"',
        "trace_id": "trace-1",
        "item": ITEM,
    }


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        (
            {"type": "function_call_output", "call_id": "call_7", "output": "rain in Köln 🙂"},
            "rain in Köln 🙂",
        ),
        ({"output": "rain", "id": "fc_1", "status": "completed"}, "rain"),
        ({"output": ""}, ""),
        ({"output": {"sky": "grün", "mm": [1, 2.5]}}, '{"sky": "grün", "mm": [1, 2.5]}'),
        ({"output": [True]}, "[true]"),
        ({"output": 3}, "3"),
        ({"output": None}, "null"),
        ({"output": "half \ud83d and \x00"}, "half \ufffd and \ufffd"),
        ({"output": "ä" * MAX_OUTPUT}, "ä" * MAX_OUTPUT),
    ],
)
def test_the_model_is_shown_the_output_as_text(scorer: Scorer, fields: dict[str, Any], output: str) -> None:
    scorer.always = replied(**fields)
    assert call(scorer) == output


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(b"No such city: Bon\xff", 409), "No such city: Bon\ufffd"),
        (answer(b'{"detail": "malformed"}', 422), '{"detail": "malformed"}'),
        (answer(b" \n", 400), "it answered 400"),
        (answer(b"x" * (MAX_REFUSAL + 1), 400), "x" * MAX_REFUSAL),
    ],
)
def test_the_model_is_shown_why_a_tool_refuses_its_call(scorer: Scorer, reply: Reply, error: str) -> None:
    scorer.always = reply
    assert json.loads(call(scorer)) == {"error": error}
    assert len(scorer.requests) == 1


@pytest.mark.parametrize("reply", [answer(b"", 503), answer(b"", 429), answer(b"", 408), reset])
def test_a_call_that_may_pass_is_sent_again_before_the_tool_fails(scorer: Scorer, reply: Reply) -> None:
    scorer.replies, scorer.always = [reply] * 3, replied(output="rain")
    assert call(scorer) == "rain"
    assert len({request.body for request in scorer.requests}) == 1
    scorer.replies = [reply] * 4
    assert "after 4 requests" in failed(scorer)
    assert len(scorer.requests) == 8


def test_a_tool_that_hangs_is_cut_off_and_asked_again(scorer: Scorer) -> None:
    scorer.replies, scorer.always = [scorer.hang], replied(output="rain")
    assert call(scorer, seconds=0.5) == "rain"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (replied(output="rain", call_id="call_8"), "the 'call_id' of its answer is that of another call"),
        (replied(output="rain", call_id=None), "the 'call_id' of its answer is that of another call"),
        (replied(output="rain", type="message"), "the 'type' of its answer is not 'function_call_output'"),
        (replied(result="rain"), "its answer is not a JSON object with an 'output'"),
        (answer(b'["rain"]'), "its answer is not a JSON object with an 'output'"),
        (answer(b"rain"), "its answer is not JSON"),
        (replied(output="x" * (MAX_OUTPUT + 1)), "its 'output' has more than 100,000 characters"),
        (replied(output=["x" * MAX_OUTPUT]), "its 'output' has more than 100,000 characters"),
        (answer(b" " * (MAX_ANSWER + 1)), f"the answer has more than {MAX_ANSWER} bytes"),
        (answer(b"", 302, location="/elsewhere"), "it answered 302, and redirects are not followed"),
    ],
)
def test_an_answer_that_is_no_output_fails_the_tool_at_once(
    scorer: Scorer, reply: Reply, reason: str
) -> None:
    scorer.always = reply
    assert reason in failed(scorer)
    assert len(scorer.requests) == 1


@pytest.fixture(scope="module")
def sessions(database_url: str) -> sessionmaker[Session]:
    return session_factory(create_database(database_url))


def project(sessions: sessionmaker[Session], secret: str | None = None) -> str:
    """Return a new project, which signs with the secret."""
    with sessions.begin() as session:
        made = create_project(session, new_id("p")).id
        session.flush()
        if secret is not None:
            session.add(Secret(project_id=made, name=SIGNING_SECRET, sealed=Vault(KEY).seal(secret)))
    return made


def of_project(sessions: sessionmaker[Session], project_id: str, key: str = KEY) -> ProjectEndpoints:
    return ProjectEndpoints(
        Settings(secret_keys=SecretStr(key), egress_allow="127.0.0.1"), sessions, project_id
    )


def stored(scorer: Scorer) -> EndpointTool:
    """Return a tool as a specification has it, with a header that only the key `KEY` decrypts."""
    asked = tool(scorer, headers={"Authorization": "Bearer abc"})
    return EndpointTool.model_validate(with_sealed_headers(Vault(KEY), asked).model_dump(mode="json"))


def test_calls_have_the_tools_headers_and_signatures_of_their_own(
    sessions: sessionmaker[Session], scorer: Scorer
) -> None:
    secret = new_signing_secret()
    endpoints = of_project(sessions, project(sessions, secret))
    scorer.always = replied(output="rain")
    asked = stored(scorer)

    async def twice() -> None:
        for _ in range(2):
            assert await endpoints.call(asked, CALL, ITEM, "trace-1") == "rain"

    asyncio.run(twice())
    for request in scorer.requests:
        assert request.headers["authorization"] == "Bearer abc"
        Webhook(secret).verify(request.body, request.headers)
    assert len({request.headers["webhook-id"] for request in scorer.requests}) == 2


def test_a_tool_that_fails_costs_its_sample_alone(sessions: sessionmaker[Session], scorer: Scorer) -> None:
    scorer.always = replied(output="rain", call_id="call_8")
    with pytest.raises(RowFailed, match="The tool 'weather' gave no output") as raised:
        run(of_project(sessions, project(sessions)).call(tool(scorer), CALL, ITEM, "trace-1"))
    assert raised.value.code == TOOL_FAULT == "tool_error"


def test_a_tool_that_can_never_be_asked_ends_the_job(sessions: sessionmaker[Session], scorer: Scorer) -> None:
    other = of_project(sessions, project(sessions), Vault.new_key())
    with pytest.raises(JobError) as raised:
        run(other.call(stored(scorer), CALL, ITEM, "trace-1"))
    assert (raised.value.code, raised.value.param) == ("secrets_unreadable", "method.reinforcement.tools")
    assert scorer.requests == []
