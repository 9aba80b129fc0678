"""The tools of a reinforcement job: what a request may hold, what is stored and shown of it, and refusals."""

import json
from typing import Any

import pytest
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import text

from cli.commands.reseal import reseal_all
from core.endpoints.header_values import HIDDEN, SEALED
from core.jobs.spec import JobSpec, shown_spec
from core.objectives.reinforcement import MOST_TOOLS, Reinforcement
from core.secrets.vault import Vault
from core.tables import Job
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.evals_api import finish_run, make_eval, make_run, sampled

JOBS = "/v1/fine_tuning/jobs"
VALUE = "Bearer of-what-must-stay-hidden"
URL = "https://tools.example.com/call"
PLAIN = {"name": "get_time", "server_url": URL}
TOOL = {**PLAIN, "headers": {"authorization": VALUE}}
SHOWN = {**PLAIN, "headers": {"authorization": HIDDEN}}
DECLARED = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
TOOLS = "method.reinforcement.tools"


def prompts(**beside: Any) -> bytes:
    messages = [{"role": "user", "content": "What time is it?"}]
    rows = ({"messages": messages, "answer": str(number), **beside} for number in range(40))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    return alice.upload(prompts(tools=[DECLARED]))


def method(**beside: Any) -> dict[str, Any]:
    return {"type": "reinforcement", "reinforcement": {"grader": GRADER, **beside}}


def asking(file_id: str, **beside: Any) -> dict[str, Any]:
    return {"training_file": file_id, "validation_file": file_id, "method": method(**beside)}


def options_of(api: Api, job_id: str) -> Reinforcement:
    with api.sessions() as session:
        objective = JobSpec.model_validate(session.get_one(Job, job_id).spec).objective
    assert isinstance(objective, Reinforcement)
    return objective


@pytest.mark.parametrize("is_extra", [False, True])
def test_the_official_client_creates_and_reads_a_job_with_tools(
    api: Api, alice: Tenant, file_id: str, is_extra: bool
) -> None:
    asked: dict[str, Any] = {"method": method(tools=[TOOL], max_episode_steps=4)}
    job = alice.openai.fine_tuning.jobs.create(
        model=BASE_MODEL,
        training_file=file_id,
        validation_file=file_id,
        **({"extra_body": asked} if is_extra else asked),
    )
    shown = strictly(FineTuningJob, alice.job(job.id)).method.reinforcement
    assert shown.tools == job.method.reinforcement.tools == [SHOWN]  # type: ignore[union-attr]
    assert shown.max_episode_steps == 4
    options = options_of(api, job.id)
    assert options.tools is not None
    assert [(tool.name, tool.server_url) for tool in options.tools] == [("get_time", URL)]
    assert options.max_episode_steps == 4


def test_turns_need_no_tools_and_have_a_usual_limit(api: Api, alice: Tenant, file_id: str) -> None:
    for beside, most in (({}, 10), ({"max_episode_steps": 1}, 1), ({"max_episode_steps": 100}, 100)):
        job = alice.create_job(**asking(file_id, tools=None, **beside))
        assert job["method"]["reinforcement"]["max_episode_steps"] == most
        assert options_of(api, job["id"]).max_episode_steps == most


def test_no_answer_and_no_row_has_a_tools_header_in_clear(api: Api, alice: Tenant, file_id: str) -> None:
    job = alice.create_job(**asking(file_id, tools=[TOOL]))
    listed = alice.http.get(JOBS)
    texts = [json.dumps([job, alice.job(job["id"]), alice.events(job["id"])]), listed.text]
    with api.sessions() as session:
        spec = session.get_one(Job, job["id"]).spec
        assert spec["objective"]["tools"][0]["headers"]["authorization"].startswith(SEALED)
        texts.append(json.dumps(shown_spec(spec)))
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        for table in session.scalars(text(tables)).all():
            rows = session.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()
            assert not any(VALUE in row for row in rows), table
    assert not any(VALUE in each or SEALED in each for each in texts)


def test_stored_headers_of_tools_need_a_key(api: Api) -> None:
    with api.beside(secret_keys=None) as other:
        tenant = other.tenant()
        own = tenant.upload(prompts(tools=[DECLARED]))
        refusal(tenant.ask_for_job(**asking(own, tools=[TOOL])), 400, None, "secrets_not_configured")
        assert tenant.ask_for_job(**asking(own, tools=[PLAIN])).is_success


def test_a_new_key_takes_over_the_headers_of_tools(api: Api, alice: Tenant, file_id: str) -> None:
    assert api.settings.secret_keys is not None
    old, new = api.settings.secret_keys.get_secret_value(), Vault.new_key()
    job = alice.create_job(**asking(file_id, tools=[TOOL]))
    with api.sessions() as session:
        assert reseal_all(session, Vault(f"{new},{old}")).unreadable == []
        session.flush()
        session.expire_all()
        (stored,) = session.get_one(Job, job["id"]).spec["objective"]["tools"]
        session.rollback()
    sealed = stored["headers"]["authorization"].removeprefix(SEALED)
    assert json.loads(Vault(new).open(sealed)) == [URL, VALUE]


def test_no_tool_is_left_of_a_deleted_job(api: Api, alice: Tenant, file_id: str) -> None:
    job_id = alice.create_job(**asking(file_id, tools=[TOOL]))["id"]
    alice.http.post(f"{JOBS}/{job_id}/cancel").raise_for_status()
    alice.http.delete(f"{JOBS}/{job_id}").raise_for_status()
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        objective = session.get_one(Job, job_id).spec["objective"]
    assert "tools" not in objective
    assert objective["max_episode_steps"] == 10


@pytest.mark.parametrize(
    ("beside", "param", "code", "says"),
    [
        ({"tools": [PLAIN, {**PLAIN, "server_url": "http://10.0.0.1/"}]}, ".1.name", "duplicate_name", "two"),
        (
            {"tools": [{**PLAIN, "server_url": "https://10.0.0.1/"}]},
            ".0.server_url",
            "invalid_url",
            "refused",
        ),
        (
            {"tools": [{**PLAIN, "server_url": "http://example.com/"}]},
            ".0.server_url",
            "invalid_url",
            "refused",
        ),
        ({"tools": [{**PLAIN, "server_url": ""}]}, ".0.server_url", "invalid_value", ""),
        ({"tools": [{"name": "get_time"}]}, ".0.server_url", "missing_required_parameter", ""),
        ({"tools": [{**PLAIN, "name": "get time"}]}, ".0.name", "invalid_value", ""),
        ({"tools": [{**PLAIN, "url": URL}]}, ".0.url", "unknown_parameter", ""),
        ({"tools": [{**TOOL, "headers": {"Host": VALUE}}]}, ".0.headers.Host", "invalid_value", "itself"),
        ({"tools": [SHOWN]}, ".0.headers.authorization", "invalid_value", "Send the value itself"),
        ({"tools": [{**PLAIN, "name": f"t{i}"} for i in range(MOST_TOOLS + 1)]}, "", "invalid_value", "64"),
    ],
)
def test_tools_that_cannot_be_called_are_refused(
    api: Api, alice: Tenant, file_id: str, beside: dict[str, Any], param: str, code: str, says: str
) -> None:
    before = api.job_count()
    answered = alice.ask_for_job(**asking(file_id, **beside))
    assert VALUE not in answered.text
    assert says.lower() in refusal(answered, 400, f"{TOOLS}{param}", code)["message"].lower()
    assert api.job_count() == before


@pytest.mark.parametrize("steps", [0, 101, 2.5, "auto"])
def test_other_numbers_of_turns_are_refused(alice: Tenant, file_id: str, steps: Any) -> None:
    asked = asking(file_id, max_episode_steps=steps)
    refusal(alice.ask_for_job(**asked), 400, "method.reinforcement.max_episode_steps", "invalid_value")


@pytest.mark.parametrize(
    ("place", "name", "says"),
    [
        ("hyperparameters.", "tools", "beside 'hyperparameters'"),
        ("hyperparameters.", "max_episode_steps", "beside 'hyperparameters'"),
        ("", "max_turns", "'method.reinforcement.max_episode_steps' instead"),
    ],
)
def test_other_places_and_names_are_refused_with_the_right_one(
    alice: Tenant, file_id: str, place: str, name: str, says: str
) -> None:
    beside: dict[str, Any] = {"hyperparameters": {name: 3}} if place else {name: 3}
    answered = alice.ask_for_job(**asking(file_id, **beside))
    assert says in refusal(answered, 400, f"method.reinforcement.{place}{name}")["message"]


def test_a_form_of_answers_leaves_no_room_for_calls(alice: Tenant, file_id: str) -> None:
    both = asking(file_id, tools=[PLAIN], response_format={"type": "json_object"})
    error = refusal(alice.ask_for_job(**both), 400, "method.reinforcement.response_format", "invalid_value")
    assert "no room to call a tool" in error["message"]
    for form in ({"type": "text"}, None):
        assert alice.ask_for_job(**asking(file_id, tools=[PLAIN], response_format=form)).is_success


def test_tools_that_no_row_declares_are_refused(alice: Tenant) -> None:
    plain = alice.upload(prompts())
    error = refusal(alice.ask_for_job(**asking(plain, tools=[PLAIN])), 400, TOOLS, "invalid_value")
    assert "no row of the training file declares a tool" in error["message"]
    assert alice.ask_for_job(**asking(plain, tools=[])).is_success


def test_a_try_out_runs_no_tools_so_it_says_nothing_of_a_job_that_does(api: Api) -> None:
    tenant = api.tenant()
    own = tenant.upload(prompts(tools=[DECLARED]))
    asked = {"source": {"type": "file_id", "id": own}, "input_messages": None, "sampling_params": {"n": 4}}
    run_id = make_run(tenant, make_eval(tenant, testing_criteria=[GRADER]), **asked)
    finish_run(api, run_id, *sampled([[True] * 4] * 30))
    refusal(tenant.ask_for_job(**asking(own)), 400, "method.reinforcement.grader", "nothing_to_learn")
    assert tenant.ask_for_job(**asking(own, tools=[PLAIN])).is_success
