"""Graders of an eval: those that compare texts, those that ask a model, and formulas over both."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import JobError
from core.tables import ChatUsage
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.scorer import Scorer, score
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import EvalRuns, inline

ASKED = [{"role": "user", "content": "Is '{{ sample.output_text }}' right? {{ item.reference }}"}]
LABEL = {
    "type": "label_model",
    "name": "judge",
    "model": TINY,
    "input": ASKED,
    "labels": ["right", "wrong", "unclear"],
    "passing_labels": ["right", "unclear"],
}
SCORE = {"type": "score_model", "name": "grade", "model": TINY, "input": ASKED, "range": [1.0, 7.0]}
SIMILAR = {
    "type": "text_similarity",
    "name": "like",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference }}",
    "evaluation_metric": "chrf",
    "pass_threshold": 0.5,
}


def with_samples(runs: EvalRuns, *texts: str) -> dict[str, Any]:
    rows = [{"item": {"reference": "a reference"}, "sample": {"output_text": text}} for text in texts]
    return runs.file(rows)


def test_a_models_labels_and_scores_always_parse(runs: EvalRuns, server: ServerProcess) -> None:
    rows = with_samples(runs, *(f"answer {number}" for number in range(6)))
    score = {**SCORE, "sampling_params": {"temperature": 1.0}, "pass_threshold": 4.0}
    found = runs.do([LABEL, score], rows, model=None, judges=[TINY])
    assert found.report.errored == 0
    for record in found.records:
        label, grade = record.results
        said = json.loads((label.sample or {})["output"][0]["content"])["label"]
        assert (label.score, label.passed) == (float(said != "wrong"), said != "wrong")
        assert 1 <= grade.score <= 7
        assert grade.passed == (grade.score >= 4)
        assert json.loads((grade.sample or {})["output"][0]["content"]) == {"score": grade.score}
        assert record.usage[0].invocation_count == 2
    (used,) = found.report.usage
    assert (used.model_name, used.invocation_count) == (TINY, 12)
    with runs.sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == runs.project))
    assert counted.requests == 12


def test_a_formula_takes_the_scores_of_models_and_of_texts(runs: EvalRuns, server: ServerProcess) -> None:
    multi = {
        "type": "multi",
        "name": "both",
        "graders": {"like": {**SIMILAR, "pass_threshold": None}, "grade": SCORE, "judge": LABEL},
        "calculate_output": "like + 10 * grade + 100 * judge",
        "pass_threshold": 10.0,
    }
    for part in multi["graders"].values():  # type: ignore[attr-defined]
        part.pop("pass_threshold", None)
    rows = with_samples(runs, "a reference", "zzz")
    found = runs.do([multi, {**SCORE}, LABEL, SIMILAR], rows, model=None, judges=[TINY])
    for record in found.records:
        both, grade, judge, like = record.results
        assert both.score == pytest.approx(like.score + 10 * grade.score + 100 * judge.score)
        assert both.passed
    assert [record.results[3].score for record in found.records] == [1.0, 0.0]
    assert [record.results[3].passed for record in found.records] == [True, False]


def test_a_row_that_cannot_be_graded_is_an_error_of_that_row(runs: EvalRuns) -> None:
    named = {
        "type": "string_check",
        "input": "{{ sample.output_json.a }}",
        "reference": "{{ item.b }}",
        "operation": "eq",
    }
    rows = [
        {"item": {"b": "1"}, "sample": {"output_text": '{"a": 1}'}},
        {"item": {"b": "1"}, "sample": {"output_text": "no JSON"}},
        {"item": {}, "sample": {"output_text": '{"a": 1}'}},
        {"item": {"b": "x" * 70_000}, "sample": {"output_text": '{"a": 1}'}},
    ]
    found = runs.do([named], runs.file(rows), model=None)
    scores = [[result.score for result in record.results] for record in found.records]
    assert scores == [[1.0], [0.0], [], []]
    codes = [record.error and record.error.code for record in found.records]
    assert codes == [None, None, "invalid_variable_error", "text_too_long"]


def test_a_grader_sees_the_calls_of_tools_that_came_with_a_row(runs: EvalRuns) -> None:
    named = {
        "type": "string_check",
        "input": "{{ sample.output_tools[0].function.name }}",
        "reference": "weather",
        "operation": "eq",
    }
    calls = [
        [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}}]
        for name in ("weather", "clock")
    ]
    samples = [{"output_text": "x", "output_tools": each} for each in [*calls, [], "weather"]]
    rows = [{"item": {}, "sample": each} for each in samples]
    found = runs.do([named], runs.file(rows), model=None)
    assert [[result.score for result in record.results] for record in found.records] == [[1], [0], [], []]
    codes = [record.error and record.error.code for record in found.records]
    assert codes == [None, None, "invalid_variable_error", "invalid_sample"]


def test_an_endpoint_scores_rows_and_fails_only_the_row_that_it_gives_no_score(
    serving: Serving, tmp_path: Path, warm_rendering: None, scorer: Scorer
) -> None:
    runs = EvalRuns(serving, tmp_path, egress_allow="127.0.0.1", eval_requests=1)
    remote = scorer.grader(pass_threshold=0.5)
    del remote["name"]
    multi = {
        "type": "multi",
        "name": "both",
        "graders": {"a": {**remote, "name": "a"}},
        "calculate_output": "a * 10",
        "pass_threshold": 5.0,
    }
    scorer.replies = [score(0.75), score(0.4), score(0.5), score(0.6), score("good")]
    found = runs.do([remote, multi], with_samples(runs, "one", "two", "three"), model=None)
    judged = [[(result.score, result.passed) for result in record.results] for record in found.records]
    assert judged == [[(0.75, True), (4, False)], [(0.5, True), (6, True)], []]
    failed = found.records[2].error
    assert failed is not None
    assert failed.code == "endpoint_grader_error"
    assert "a string, not a number" in failed.message
    assert [json.loads(each.body)["sample"]["output_text"] for each in scorer.requests] == [
        *("one", "one", "two", "two", "three")
    ]


def test_a_python_grader_judges_rows_and_its_failures_are_errors_of_their_rows(runs: EvalRuns) -> None:
    code = {
        "type": "python",
        "name": "code",
        "source": "def grade(sample, item):\n    return len(sample['output_text']) / item['most']",
        "pass_threshold": 0.5,
    }
    rows = [
        {"item": {"most": 4}, "sample": {"output_text": "abc"}},
        {"item": {"most": 4}, "sample": {"output_text": "a"}},
        {"item": {"most": 0}, "sample": {"output_text": "a"}},
        {"item": {}, "sample": {"output_text": "a"}},
    ]
    found = runs.do([code], runs.file(rows), model=None)
    results = [[(each.score, each.passed) for each in record.results] for record in found.records]
    assert results == [[(0.75, True)], [(0.25, False)], [], []]
    errors = [record.error for record in found.records if record.error is not None]
    assert [error.code for error in errors] == ["python_grader_runtime_error"] * 2
    assert errors[0].message == (
        "The code of the grader 'code' failed: line 2: ZeroDivisionError: division by zero."
    )
    assert errors[1].message.startswith("The code of the grader 'code' failed: line 2: KeyError")
    assert found.report.errored == 2


def test_a_source_that_defines_no_grader_fails_the_run(runs: EvalRuns) -> None:
    with pytest.raises(JobError, match="defines no function 'grade"):
        runs.do([{"type": "python", "source": "1"}], inline([{}]), model=None)
