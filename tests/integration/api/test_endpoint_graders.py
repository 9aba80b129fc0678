"""Endpoint graders through the API: they are run, refused and stored, and no answer shows their headers."""

import json
import logging
from typing import Any

import pytest
from openai.types.fine_tuning.alpha import GraderRunResponse
from sqlalchemy import text
from standardwebhooks import Webhook

from cli.commands.reseal import reseal_all
from core.endpoints.header_values import HIDDEN, SEALED
from core.roles import Role
from core.secrets.endpoint_headers import SIGNING_SECRET
from core.secrets.vault import Vault
from core.tables import Eval, Job
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Scorer, answer, score
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.work.evals_api import ANY_ROW, CHECK, EVALS

GRADERS = "/v1/fine_tuning/alpha/graders"
VALUE = "Bearer of-what-must-stay-hidden"
PRIVATE = {"type": "endpoint", "name": "remote", "url": "https://10.0.0.1/grade"}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


def run(tenant: Tenant, grader: dict[str, Any]) -> dict[str, Any]:
    body = {"grader": grader, "model_sample": "x", "item": {"answer": "x"}}
    made = tenant.http.post(f"{GRADERS}/run", json=body)
    assert made.status_code == 200, made.text
    GraderRunResponse.model_validate(made.json(), strict=True)
    found: dict[str, Any] = made.json()
    return found


def test_an_endpoint_scores_a_sample(alice: Tenant, scorer: Scorer) -> None:
    scorer.always = score(0.25)
    made = run(alice, scorer.grader(headers={"Authorization": VALUE}))
    assert made["reward"] == 0.25
    assert made["metadata"]["scores"] == {"remote": 0.25}
    assert made["metadata"]["errors"]["endpoint_grader_error"] is False
    (request,) = scorer.requests
    assert request.headers["authorization"] == VALUE
    assert json.loads(request.body)["sample"]["output_text"] == "x"


def test_a_formula_takes_the_scores_of_endpoints(alice: Tenant, scorer: Scorer) -> None:
    scorer.always = score(3)
    made = run(alice, multi("same + 10 * a + 100 * b", same=CHECK, a=scorer.grader(), b=scorer.grader()))
    assert made["reward"] == 331
    assert made["sub_rewards"] == {"same": 1, "a": 3, "b": 3}


@pytest.mark.parametrize("parts", [False, True])
def test_an_endpoint_that_gives_no_score_is_told(alice: Tenant, scorer: Scorer, parts: bool) -> None:
    scorer.always = answer(b'{"score": "good"}')
    grader = scorer.grader()
    made = run(alice, multi("a + same", a=grader, same=CHECK) if parts else grader)
    errors = made["metadata"]["errors"]
    assert made["reward"] == 0
    assert [name for name, value in errors.items() if value is True] == ["endpoint_grader_error"]
    assert errors["endpoint_grader_error_details"] == (
        "The endpoint of the grader 'remote' gave no score: its 'score' is a string, not a number."
    )


def test_an_endpoint_is_not_asked_for_a_grader_that_cannot_be_run(alice: Tenant, scorer: Scorer) -> None:
    model = {"type": "score_model", "name": "judge", "model": "tiny-model", "input": []}
    for grader in (multi("a + judge", a=scorer.grader(), judge=model), multi("a + b", a=scorer.grader())):
        body = {"grader": grader, "model_sample": "x"}
        assert alice.http.post(f"{GRADERS}/run", json=body).status_code == 400
    assert scorer.requests == []


def test_a_request_is_signed_with_the_projects_secret(api: Api, scorer: Scorer) -> None:
    admin, secret = api.tenant(role=Role.ADMIN), new_signing_secret()
    assert admin.http.post("/v1/secrets", json={"name": SIGNING_SECRET, "value": secret}).is_success
    run(admin, scorer.grader())
    Webhook(secret).verify(scorer.requests[0].body, scorer.requests[0].headers)
    assert admin.http.post("/v1/secrets", json={"name": SIGNING_SECRET, "value": "whsec_"}).is_success
    made = admin.http.post(f"{GRADERS}/run", json={"grader": scorer.grader(), "model_sample": "x"})
    assert SIGNING_SECRET in refusal(made, 400, None, "secret_malformed")["message"]


@pytest.mark.parametrize(
    ("grader", "param", "code"),
    [
        (PRIVATE, "grader.url", "invalid_url"),
        ({**PRIVATE, "url": "http://example.com/"}, "grader.url", "invalid_url"),
        ({**PRIVATE, "url": "https://user:password@example.com/"}, "grader.url", "invalid_url"),
        (multi("a", a=PRIVATE), "grader.graders.a.url", "invalid_url"),
        ({**multi("remote"), "graders": PRIVATE}, "grader.graders.url", "invalid_url"),
        ({**PRIVATE, "url": ""}, "grader.url", "invalid_value"),
        ({**PRIVATE, "rate_limit": 0}, "grader.rate_limit", "invalid_value"),
        ({**PRIVATE, "rate_limit": 1.5}, "grader.rate_limit", "invalid_value"),
        ({**PRIVATE, "headers": {"Host": "a"}}, "grader.headers.Host", "invalid_value"),
        ({**PRIVATE, "headers": {"X-Key": f"{VALUE}\n"}}, "grader.headers.X-Key", "invalid_value"),
        ({**PRIVATE, "headers": {"X-Key": [VALUE]}}, "grader.headers.X-Key", "invalid_value"),
        ({**PRIVATE, "headers": {"X Key": VALUE}}, "grader.headers", "invalid_value"),
    ],
)
def test_a_grader_that_may_not_be_asked_is_refused_everywhere(
    alice: Tenant, grader: dict[str, Any], param: str, code: str
) -> None:
    bodies = (
        (f"{GRADERS}/validate", {"grader": grader}, param),
        (f"{GRADERS}/run", {"grader": grader, "model_sample": "x"}, param),
        (
            EVALS,
            {"data_source_config": ANY_ROW, "testing_criteria": [CHECK, grader]},
            param.replace("grader", "testing_criteria.1", 1),
        ),
        (
            "/v1/fine_tuning/jobs",
            {
                "model": "tiny-model",
                "training_file": (file := alice.upload()),
                "validation_file": file,
                "evaluate": {"criteria": [grader]},
            },
            param.replace("grader", "evaluate.criteria.0", 1),
        ),
    )
    for path, body, where in bodies:
        answered = alice.http.post(path, json=body)
        assert VALUE not in answered.text
        refusal(answered, 400, where, code)


def test_no_answer_and_no_row_has_a_header_in_clear(
    api: Api, alice: Tenant, scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    grader = scorer.grader(headers={"Authorization": VALUE}, pass_threshold=0.5, rate_limit=5)
    shown = {**grader, "headers": {"Authorization": HIDDEN}}
    validated = alice.http.post(f"{GRADERS}/validate", json={"grader": grader})
    assert validated.json() == {"grader": shown}
    criteria = [multi("a", a=grader), grader]
    body = {"data_source_config": ANY_ROW, "testing_criteria": criteria}
    made = alice.http.post(EVALS, json=body)
    assert made.json()["testing_criteria"][1] == shown
    read = alice.http.get(f"{EVALS}/{made.json()['id']}")
    assert read.json()["testing_criteria"] == made.json()["testing_criteria"]
    file = alice.upload()
    job = alice.create_job(training_file=file, validation_file=file, evaluate={"criteria": criteria})
    assert job["evaluate"]["criteria"][1] == shown
    assert alice.job(job["id"])["evaluate"] == job["evaluate"]
    texts = [validated.text, made.text, read.text, json.dumps(job), json.dumps(alice.job(job["id"]))]
    texts.append(json.dumps(alice.events(job["id"])))
    assert not any(VALUE in each or SEALED in each for each in texts)
    with api.sessions() as session:
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        for table in session.scalars(text(tables)).all():
            rows = session.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()
            assert not any(VALUE in row for row in rows), table
        stored = session.get_one(Eval, made.json()["id"]).criteria
        assert stored[1]["headers"]["Authorization"].startswith(SEALED)
    assert VALUE not in caplog.text


def test_stored_headers_need_a_key(alice: Tenant, api: Api, scorer: Scorer) -> None:
    with api.beside(secret_keys=None) as other:
        tenant = other.tenant()
        body = {"data_source_config": ANY_ROW, "testing_criteria": [scorer.grader(headers={"X-Key": "a"})]}
        refusal(tenant.http.post(EVALS, json=body), 400, None, "secrets_not_configured")
        body["testing_criteria"] = [scorer.grader()]
        assert tenant.http.post(EVALS, json=body).is_success


def test_a_new_key_takes_over_the_headers_of_evals_and_jobs(api: Api, alice: Tenant, scorer: Scorer) -> None:
    assert api.settings.secret_keys is not None
    old, new = api.settings.secret_keys.get_secret_value(), Vault.new_key()
    grader = scorer.grader(headers={"X-Key": VALUE})
    body = {"data_source_config": ANY_ROW, "testing_criteria": [grader]}
    eval_id = alice.http.post(EVALS, json=body).json()["id"]
    file = alice.upload()
    job = alice.create_job(training_file=file, validation_file=file, evaluate={"criteria": [grader]})
    with api.sessions() as session:
        assert reseal_all(session, Vault(f"{new},{old}")).unreadable == []
        session.flush()
        session.expire_all()
        criteria = session.get_one(Eval, eval_id).criteria
        evaluation = session.get_one(Job, job["id"]).spec["evaluation"]
        session.rollback()
    for (stored,) in (criteria, evaluation["criteria"]):
        sealed = stored["headers"]["X-Key"].removeprefix(SEALED)
        assert json.loads(Vault(new).open(sealed)) == [grader["url"], VALUE]
