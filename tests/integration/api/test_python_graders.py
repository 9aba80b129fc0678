"""Python graders over real HTTP: rewards, what is told of errors, and that nothing is left of a run."""

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from openai.types import EvalCreateResponse
from openai.types.fine_tuning.alpha import GraderRunResponse, GraderValidateResponse

from core.graders.schemas import MAX_SOURCE
from tests.fixtures.processes.processes import named
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.work.evals_api import CHECK, EVALS
from tests.fixtures.work.hostile_graders import source
from tests.fixtures.work.sandboxes import ONE, RUNNERS, sandbox_of

URL = "/v1/fine_tuning/alpha/graders"


@pytest.fixture(params=RUNNERS)
def tenant(request: pytest.FixtureRequest, api: Api) -> Iterator[Tenant]:
    """Yield a client of an API with this sandbox."""
    sandbox_of(request.param)
    with api.beside(python_graders=request.param, python_grader_seconds=1.0) as other:
        yield other.tenant()


def code(body: str, **more: Any) -> dict[str, Any]:
    return {"type": "python", "name": "code", "source": source(body), **more}


def run(tenant: Tenant, grader: Any, sample: str = "", item: Any = None) -> GraderRunResponse:
    body = {"grader": grader, "model_sample": sample, "item": item}
    answer = tenant.http.post(f"{URL}/run", json=body)
    assert answer.status_code == 200, answer.text
    return GraderRunResponse.model_validate(answer.json(), strict=True)


def wrong(made: GraderRunResponse) -> dict[str, Any]:
    errors = made.metadata.errors.model_dump(by_alias=True)
    return {name: value for name, value in errors.items() if value}


def test_the_official_client_runs_a_python_grader(tenant: Tenant) -> None:
    grader = code("return float(sample['output_json']['n'] == item['n']) / 2", image_tag="2025-05-08")
    made = tenant.openai.fine_tuning.alpha.graders.run(
        grader=grader,  # type: ignore[arg-type]
        model_sample='{"n": 3}',
        item={"n": 3},
    )
    assert (made.reward, made.metadata.type, made.metadata.scores) == (0.5, "python", {"code": 0.5})
    assert wrong(made) == {}
    answer = tenant.http.post(f"{URL}/validate", json={"grader": grader})
    assert answer.json() == {"grader": grader}
    strictly(GraderValidateResponse, answer.json())


def test_an_eval_takes_a_python_grader(tenant: Tenant) -> None:
    body = {
        "testing_criteria": [code("return 1", pass_threshold=0.5)],
        "data_source_config": {"type": "custom", "item_schema": {"type": "object"}},
    }
    answer = tenant.http.post(EVALS, json=body)
    assert answer.status_code == 200, answer.text
    strictly(EvalCreateResponse, answer.json())
    assert answer.json()["testing_criteria"][0]["pass_threshold"] == 0.5


def test_a_formula_has_python_graders(tenant: Tenant) -> None:
    parts = {"a": code("return 3"), "same": CHECK}
    grader = {"type": "multi", "name": "all", "graders": parts, "calculate_output": "a + 10 * same"}
    made = run(tenant, grader, "x", {"answer": "x"})
    assert (made.reward, made.sub_rewards) == (13, {"a": 3, "same": 1})


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ("return 1 / item['n']", "line 2: ZeroDivisionError: division by zero"),
        ("return None", "it returned a value of the type NoneType, not a number"),
        ("while True:\n    pass", "it took longer than 1 seconds"),
        ("return len('x' * 10**12)", "it needed more than 256 MiB of memory"),
    ],
)
def test_what_goes_wrong_in_the_code_is_told(tenant: Tenant, body: str, details: str) -> None:
    made = run(tenant, code(body), "x", {"n": 0})
    assert made.reward == 0
    assert wrong(made) == {
        "python_grader_runtime_error": True,
        "python_grader_runtime_error_details": details,
    }
    assert run(tenant, code("return 1")).reward == 1


def test_another_project_finds_nothing_of_a_run(tenant: Tenant) -> None:
    leaving = "import builtins\nbuiltins.left = 1\nopen('/tmp/left', 'w').write('x')\nreturn 1"
    looking = "import builtins, os\nreturn float(hasattr(builtins, 'left') or os.path.exists('/tmp/left'))"
    run(tenant, code(leaving))
    run(tenant, code("global left\nleft = 1\nreturn 1"))
    other = tenant.api.tenant()
    assert run(other, code(looking)).reward == 0
    made = run(other, code("return left"))
    assert "NameError: name 'left' is not defined" in wrong(made)["python_grader_runtime_error_details"]


@pytest.mark.parametrize(
    ("grader", "param", "told"),
    [
        ({**code("return 1"), "source": "x = 1"}, "grader.source", "defines no function"),
        ({**code("return 1"), "source": "\n\ndef grade(x):\n    return 1"}, "grader.source", "line 3: "),
        ({**code("return 1"), "source": ONE + "\nx = ("}, "grader.source", "line 3: SyntaxError"),
        ({**code("return 1"), "source": ONE + "#" * MAX_SOURCE}, "grader.source", ""),
        ({**code("return 1"), "source": ONE + "#" + "é" * (MAX_SOURCE // 2)}, "grader.source", "bytes"),
        (code("return 1", image_tag="latest"), "grader.image_tag", "no image 'latest'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_source_that_cannot_be_used_is_refused_by_all(
    tenant: Tenant, grader: dict[str, Any], param: str, told: str
) -> None:
    for path in ("run", "validate"):
        body = {"grader": grader, "model_sample": "x"}
        error = refusal(tenant.http.post(f"{URL}/{path}", json=body), 400, param)
        assert told in error["message"]
        assert "/" not in error["message"].replace("and/or", "")
    body = {
        "testing_criteria": [grader],
        "data_source_config": {"type": "custom", "item_schema": {"type": "object"}},
    }
    refusal(tenant.http.post(EVALS, json=body), 400, param.replace("grader", "testing_criteria.0"))


def test_an_operator_can_turn_them_off(api: Api) -> None:
    with api.beside(python_graders="off") as other:
        tenant = other.tenant()
        for path in ("run", "validate"):
            body = {"grader": code("return 1"), "model_sample": "x"}
            answer: httpx.Response = tenant.http.post(f"{URL}/{path}", json=body)
            assert "turned them off" in refusal(answer, 400, "grader", "grader_not_available")["message"]
        assert run(tenant, CHECK, "x", {"answer": "x"}).reward == 1


def test_nothing_of_a_sandbox_outlives_its_run_or_its_process(tenant: Tenant) -> None:
    assert run(tenant, code("return 1")).reward == 1
    (process,) = named("anyio.to_process", psutil.Process().children())
    before = process.children(recursive=True)
    assert {each.name() for each in before} <= {"monty"}
    process.kill()
    wait_for(lambda: not any(each.is_running() for each in before))
    body = {"grader": code("return 1"), "model_sample": "x"}
    wait_for(lambda: tenant.http.post(f"{URL}/run", json=body).is_success)  # one answer may say that it died
