"""`tunery evaluate` and `tunery evals` against the real API, with runs that the test finishes."""

import pytest

from cli.commands.evaluate import read_criteria
from core.errors import ConfigurationError
from tests.fixtures.api import BASE_MODEL, Api, Tenant, dataset, wait_for
from tests.fixtures.evals_api import finish_run, judged, queued_run
from tests.fixtures.shell import Shell


def test_a_model_is_judged_and_its_result_is_shown(api: Api, alice: Tenant, tunery: Shell) -> None:
    (tunery.cwd / "rows.jsonl").write_bytes(dataset(12))
    arguments = ["evaluate", BASE_MODEL, "--file", "rows.jsonl", "--criteria", "loss,rouge_l", "--rows", "3"]
    with tunery.running(*arguments) as process:
        run = wait_for(lambda: queued_run(api))
        assert run.request["data_source"]["source"]["limit"] == 3
        finish_run(api, run.id, [judged(0), judged(1, passed=False), judged(2, error="model_failed")])
        shown, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert shown.splitlines()[1].split() == [
        *(run.id, BASE_MODEL, "completed", "3", "1"),
        *("0.500", "[0.250,", "0.750]"),
    ]
    (made,) = [each for each in tunery.json("evals", "list") if each["id"] == run.eval_id]
    assert [criterion["name"] for criterion in made["testing_criteria"]] == ["loss", "rouge_l"]
    assert tunery.run("evals", "show", run.eval_id).stdout == shown


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
