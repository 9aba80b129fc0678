"""`tunery evaluate` and `tunery evals` against the real API, with runs that the test finishes."""

import json

import pytest

from cli.commands.evals.evaluate import read_criteria
from core.errors import ConfigurationError
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, wait_for
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.evals_api import (
    CHECK,
    EVALS,
    ROWS,
    created,
    finish_run,
    judged,
    make_eval,
    queued_run,
    sampled,
)


def test_a_model_is_judged_and_its_result_is_shown(api: Api, alice: Tenant, tunery: Shell) -> None:
    (tunery.cwd / "rows.jsonl").write_bytes(dataset(12))
    arguments = ["evaluate", BASE_MODEL, "--file", "rows.jsonl", "--criteria", "loss,rouge_l", "--rows", "3"]
    with tunery.running(*arguments) as process:
        run = wait_for(lambda: queued_run(api))
        assert run.request["data_source"]["source"]["limit"] == 3
        finish_run(api, run.id, [judged(0), judged(1, passed=False), judged(2, error="model_failed")])
        shown, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert shown.splitlines()[1].split() == [
        *(run.id, BASE_MODEL, "completed", "3", "1"),
        *("0.500", "[0.250,", "0.750]"),
    ]
    (made,) = [each for each in tunery.json("evals", "list") if each["id"] == run.eval_id]
    assert [criterion["name"] for criterion in made["testing_criteria"]] == ["loss", "rouge_l"]
    assert tunery.run("evals", "show", run.eval_id).stdout == shown


def test_an_eval_shows_by_how_much_its_tuned_model_is_better_and_how_sure_that_is(
    api: Api, alice: Tenant, tunery: Shell
) -> None:
    """The runs are those of a job that asked for an evaluation, but for the model, which no test trains."""
    job_id = alice.create_job()["id"]
    eval_id = make_eval(alice, job_id=job_id)
    (listed,) = tunery.json("evals", "list", "--job", job_id)
    assert listed["id"] == eval_id
    base, tuned, spoilt = (role_run(alice, eval_id, role) for role in ("base", "tuned", "tuned"))
    finish_run(api, base, [judged(row, passed=row < 4) for row in range(24)])
    finish_run(api, tuned, [judged(row, passed=row != 0) for row in range(24)])
    finish_run(api, spoilt, [judged(row, error="model_failed") for row in range(24)])
    shown = tunery.run("evals", "show", eval_id)
    lines = [line.split() for line in shown.stdout.splitlines()]
    heading = f"{BASE_MODEL} compared with {BASE_MODEL}, on 24 rows".split()
    head, row = lines[lines.index(heading) + 1 :][:2]
    assert " ".join(head) == "CRITERION BASE TUNED DIFFERENCE P VALUE VERDICT BETTER ROWS WORSE ROWS"
    assert (row[0], row[1], row[4], row[7]) == (CHECK["name"], "0.167", "0.958", "0.792")
    assert row[-3:] == ["better", "20", "1"]
    low, high, p_value = float(row[8].strip("[,")), float(row[9].strip("]")), float(row[10])
    assert 0 < low < 0.792 < high <= 1
    assert p_value < 0.001

    by_run = {run["id"]: run["comparison"] for run in tunery.json("evals", "show", eval_id)}
    assert by_run[base] is None
    assert by_run[tuned]["criteria"][0]["verdict"] == "better"
    assert by_run[spoilt]["compared_rows"] == 0
    assert tunery.json("evals", "list", "--model", "ft:no-such-model") == []


def test_a_grader_is_tried_out_on_prompts_before_a_job_is_paid_for(
    api: Api, alice: Tenant, tunery: Shell
) -> None:
    (tunery.cwd / "prompts.jsonl").write_bytes(prompts(12))
    grader = {"type": "python", "name": "reward", "source": "def grade(sample, item):\n    return 1.0\n"}
    (tunery.cwd / "grader.json").write_text(json.dumps(grader))
    setting = "data_source.sampling_params.max_completion_tokens=32"
    chosen = ["--grader", "grader.json", "--pass-threshold", "0.5", "--samples", "4", "--set", setting]
    with tunery.running("evaluate", BASE_MODEL, "--file", "prompts.jsonl", *chosen) as process:
        run = wait_for(lambda: queued_run(api))
        finish_run(api, run.id, *sampled([[False] * 4] * 11 + [[True, False, False, True]]))
        shown, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    params = run.request["data_source"]["sampling_params"]
    assert (params["n"], params["max_completion_tokens"]) == (4, 32)
    (made,) = [each for each in tunery.json("evals", "list") if each["id"] == run.eval_id]
    (criterion,) = made["testing_criteria"]
    assert (criterion["source"], criterion["pass_threshold"]) == (grader["source"], 0.5)
    lines = [line.split() for line in shown.splitlines()]
    for line in (
        ["rows", "12"],
        ["pass@1", "0.042"],
        ["pass@4", "0.083"],
        ["rows", "without", "variance", "11", "(92%)"],
        ["rows", "never", "passed", "11", "(92%)"],
        ["ROW", "MEAN", "SCORE", "PASSED", "SAMPLES", "PROMPT"],
        ["12", "0.5", "2", "4", "question", "11"],
    ):
        assert line in lines
    assert "Too hard. The samples differ in their scores in 1 of 12 rows." in shown
    assert tunery.run("evals", "show", run.eval_id).stdout == shown


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("[]", ["--grader", "grader.json"], "a grader is a JSON object"),
        ("{", ["--grader", "grader.json"], "holds no grader as JSON"),
        ("{}", ["--pass-threshold", "0.5"], "--pass-threshold needs --grader"),
    ],
)
def test_a_grader_that_cannot_be_read_is_refused_before_anything_is_uploaded(
    alice: Tenant, tunery: Shell, content: str, options: list[str], said: str
) -> None:
    (tunery.cwd / "grader.json").write_text(content)
    (tunery.cwd / "unsent.jsonl").write_bytes(prompts(2))
    refused = tunery.run("evaluate", BASE_MODEL, "--file", "unsent.jsonl", *options)
    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert "unsent.jsonl" not in [file["filename"] for file in alice.http.get("/v1/files").json()["data"]]


def prompts(count: int) -> bytes:
    """Return a file of prompts without answers."""
    rows = [{"messages": [{"role": "user", "content": f"What is {n} + 1?"}]} for n in range(count)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def role_run(tenant: Tenant, eval_id: str, role: str) -> str:
    """Create a run with the metadata that a job's evaluation gives it, and return its id."""
    return created(tenant, f"{EVALS}/{eval_id}/runs", {"data_source": ROWS, "metadata": {"model": role}})


def test_a_model_that_does_not_exist_leaves_no_eval_behind(alice: Tenant, tunery: Shell) -> None:
    rows = alice.upload(dataset(2))
    before = tunery.json("evals", "list")
    refused = tunery.run("evaluate", BASE_MODEL, "no-such-model", "--file", rows)
    assert refused.returncode == 1
    assert "no-such-model" in refused.stderr
    assert tunery.json("evals", "list") == before


def test_a_criterion_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match=r"On offer: loss, .*rouge_l"):
        read_criteria("loss,perplexity")
