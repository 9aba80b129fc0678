"""What the model is asked about a row, what it answers, and what the run counts."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from sqlalchemy import select
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import JobError
from core.ids import new_id
from core.serving.stored_completions import ID_PREFIX, prompt_sha256
from core.tables import ChatUsage, StoredCompletion
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.serving import WEIGHTS, ServerProcess, Serving
from tests.fixtures.work.evals import EXACT, EvalRuns, chat_row, inline

QUESTION = [{"role": "user", "content": "Say {{ item.word }}"}]
BY_TEMPLATE = {"type": "template", "template": QUESTION}
CHECK = {
    "type": "string_check",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.word }}",
    "operation": "ne",
}


def by_transformers(serving: Serving, contents: list[str], tokens: int = 8) -> list[str]:
    """Return the greedy answers of transformers."""
    model: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(serving.folder / "model")
    answers = []
    for content in contents:
        messages = [{"role": "user", "content": content}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        made = model.generate(**prompt, do_sample=False, max_new_tokens=tokens, pad_token_id=0)
        answers.append(tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def outputs(records: list[Any]) -> list[str]:
    return [record.sample["output"][0]["content"] for record in records]


def test_greedy_answers_are_those_of_transformers(
    runs: EvalRuns, serving: Serving, server: ServerProcess
) -> None:
    words = [f"word{number}" for number in range(6)]
    wanted = by_transformers(serving, [f"Say {word}" for word in words])
    found = runs.do([CHECK], inline([{"word": word} for word in words]), input_messages=BY_TEMPLATE)
    assert outputs(found.records) == wanted
    assert [record.index for record in found.records] == list(range(6))
    first = found.records[0].sample or {}
    assert first["input"] == [{"role": "user", "content": "Say word0"}]
    assert (first["model"], first["temperature"], first["finish_reason"]) == (TINY, 0, "length")
    (used,) = found.report.usage
    assert (used.model_name, used.invocation_count, used.completion_tokens) == (TINY, 6, 48)
    with runs.sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == runs.project))
    assert (counted.requests, counted.prompt_tokens) == (6, used.prompt_tokens)
    assert (found.report.passed, found.report.criteria[0].value) == (6, 1.0)


def test_a_row_gets_the_same_answer_again_at_any_temperature(runs: EvalRuns, server: ServerProcess) -> None:
    rows = inline([{"word": "a"}] * 4)
    params = {"temperature": 1.5, "max_completion_tokens": 8, "seed": 3}
    first, again = (
        runs.do([CHECK], rows, input_messages=BY_TEMPLATE, sampling_params=params) for _ in range(2)
    )
    assert outputs(first.records) == outputs(again.records)
    assert len(set(outputs(first.records))) == 4


def test_a_row_has_as_many_different_answers_as_the_run_asks_for(
    runs: EvalRuns, server: ServerProcess
) -> None:
    """More records than one file has, so that the answers to a row lie in two files."""
    rows = [{"word": f"word{number}"} for number in range(35)]
    asked = {"input_messages": BY_TEMPLATE, "sampling_params": {"max_completion_tokens": 4, "n": 3}}
    first, again = (runs.do([{**CHECK, "name": "not_it"}], inline(rows), **asked) for _ in range(2))
    assert [record.index for record in first.records] == list(range(105))
    assert [record.item for record in first.records] == [row for row in rows for _ in range(3)]
    assert outputs(first.records) == outputs(again.records)
    samples = [record.sample or {} for record in first.records]
    assert len({sample["seed"] for sample in samples}) == 105
    assert {sample["temperature"] for sample in samples} == {1.0}
    assert all(len(set(outputs(first.records[start : start + 3]))) > 1 for start in range(0, 105, 3))
    report = first.report
    assert (report.total, report.usage[0].invocation_count) == (105, 105)
    assert report.by_file == {"items-00000.jsonl": {"pass": 100}, "items-00001.jsonl": {"pass": 5}}
    found = report.criteria[0].sampled
    assert found is not None
    assert (found.samples_per_row, found.rows, found.rows_always_passed) == (3, 35, 35)
    assert (found.pass_at_k, found.verdict) == ({1: 1.0, 2: 1.0, 3: 1.0}, "too_easy")


def test_each_sample_of_a_row_counts_towards_the_most_rows(serving: Serving, tmp_path: Any) -> None:
    runs = EvalRuns(serving, tmp_path, max_eval_rows=5)
    with pytest.raises(JobError, match="more than 2 rows"):
        runs.do([EXACT], runs.file([{"input": "a", "reference": "b"}] * 3), sampling_params={"n": 2})


@pytest.mark.parametrize("item", [{"ask": [{"role": "user", "content": "Hi"}]}, {"ask": "Hi"}])
def test_an_item_may_have_its_own_messages(runs: EvalRuns, server: ServerProcess, item: Any) -> None:
    asked = {"type": "item_reference", "item_reference": "item.ask"}
    (record,) = runs.do([{**CHECK, "reference": "x"}], inline([item]), input_messages=asked).records
    assert (record.sample or {})["input"] == [{"role": "user", "content": "Hi"}]


def test_rows_may_come_with_their_samples(runs: EvalRuns) -> None:
    rows = [
        {"item": {"reference": "a"}, "sample": {"output_text": " a\n"}},
        {"item": {"reference": "a"}, "sample": {"output_text": "b"}},
        {"item": {"reference": "a"}},
    ]
    found = runs.do([EXACT], runs.file(rows), model=None)
    assert [record.results[0].passed for record in found.records[:2]] == [True, False]
    assert found.records[2].error is not None
    assert found.records[2].error.code == "no_sample"
    report = found.report
    assert (report.total, report.passed, report.failed, report.errored) == (3, 1, 1, 1)
    assert report.by_file == {"items-00000.jsonl": {"pass": 1, "fail": 1, "error": 1}}
    assert report.usage == []


def test_stored_completions_are_judged_by_their_answers(runs: EvalRuns, server: ServerProcess) -> None:
    with runs.sessions.begin() as session:
        for word, model in (("one", TINY), ("two", "other"), ("three", TINY)):
            messages = [{"role": "user", "content": word, "name": None}]
            answer = {"role": "assistant", "content": f"{word}!", "refusal": None}
            session.add(
                StoredCompletion(
                    id=new_id(ID_PREFIX),
                    project_id=runs.project,
                    model=model,
                    request={"model": model, "messages": messages},
                    answer={"choices": [{"message": answer, "finish_reason": "stop"}]},
                    prompt_sha256=prompt_sha256(messages),
                    client_metadata={"team": "a"},
                    bytes=1,
                )
            )
    source = {"type": "stored_completions", "metadata": {"team": "a"}, "model": TINY}
    found = runs.do([EXACT, {"type": "loss"}], source)
    assert [record.item["reference"] for record in found.records] == ["one!", "three!"]
    assert [record.item["input"][0]["content"] for record in found.records] == ["one", "three"]
    assert all(record.error is None and len(record.results) == 2 for record in found.records)
    later = int(datetime.now(UTC).timestamp()) + 10
    with pytest.raises(JobError, match="no rows"):
        runs.do([EXACT], {**source, "created_after": later})


def test_a_limit_judges_the_first_rows(runs: EvalRuns) -> None:
    rows = [{"item": {"reference": "a"}, "sample": {"output_text": str(i)}} for i in range(5)]
    found = runs.do([EXACT], {**runs.file(rows), "limit": 2}, model=None)
    assert [(record.sample or {})["output_text"] for record in found.records] == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"item": {}}\n\n[1]\n', "Line 3: a row must be a JSON object"),
        (b'{"a": 1}\n{"a": \n', "Line 2: the JSON is incomplete"),
        (b'{"a": "' + b"x" * 2000 + b'"}\n', "Line 1: the row is longer than 1,024 bytes"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}\n", "Line 1: the row is nested deeper"),
        (b'{"a": "\\ud800"}\n', "Line 1: the row has half of a surrogate pair"),
        (b'{"a": 1e999}\n', "Line 1: the row has a number that is too large"),
        (b'{"item": {}, "sample": 1}\n', "Line 1: 'sample' must be"),
        (b'{"a": 1}\n' * 4, "more than 3 rows"),
        (b"\n", "has no rows"),
    ],
)
def test_a_file_that_cannot_be_judged_fails_the_run_with_the_line(
    serving: Serving, tmp_path: Any, content: bytes, message: str
) -> None:
    runs = EvalRuns(serving, tmp_path, max_row_bytes=1024, max_row_image_bytes=0, max_eval_rows=3)
    with pytest.raises(JobError, match=message):
        runs.do([EXACT], runs.file(content), model=None)


def test_a_row_that_the_model_cannot_be_asked_about_is_an_error_of_that_row(
    runs: EvalRuns, server: ServerProcess
) -> None:
    rows = [
        {"input": "fine", "reference": "x"},
        {"reference": "x"},
        {"input": "a" * 600, "reference": "x"},
        {"input": [{"role": "user"}], "reference": "x"},
        {"input": [{"role": "user", "content": [{"type": "image_url"}]}], "reference": "x"},
        {"input": {"deep": 1}, "reference": "x"},
        {"input": "no reference"},
        {"input": "\x00", "reference": "x"},
    ]
    found = runs.do([EXACT], runs.file(rows))
    codes = [record.error and record.error.code for record in found.records]
    assert codes == [
        None,
        "no_input",
        "context_length_exceeded",
        *["invalid_value"] * 2,
        "no_input",
        "invalid_variable_error",
        None,
    ]
    assert all(record.error is None or record.error.message for record in found.records)
    assert (found.report.total, found.report.errored) == (8, 6)
    assert len(found.report.criteria) == 1


@pytest.mark.exhaustive
def test_the_general_questions_are_asked(runs: EvalRuns, server: ServerProcess) -> None:
    one = {"max_completion_tokens": 1}
    found = runs.do([EXACT, {"type": "loss"}], {"type": "general"}, sampling_params=one)
    assert found.report.total >= 100
    assert found.report.errored == 0


def test_a_damaged_adapter_fails_the_run_with_the_servers_words(
    runs: EvalRuns, serving: Serving, server: ServerProcess
) -> None:
    adapter = serving.adapter(6)
    serving.store.put_bytes(adapter.prefix + WEIGHTS, b"other bytes")
    with pytest.raises(JobError) as raised:
        runs.do([EXACT], inline([chat_row("One?")]), adapter)
    assert raised.value.code == "adapter_damaged"
    assert "adapter" in raised.value.message


def test_the_records_are_lines_of_json(runs: EvalRuns) -> None:
    rows = [{"item": {"reference": "é"}, "sample": {"output_text": "é"}}] * 101
    run = runs.do([EXACT], runs.file(rows), model=None)
    assert len(run.records) == 101
    (run_id,) = {record.index for record in run.records[100:]}
    assert run_id == 100
    assert json.loads(run.records[0].model_dump_json())["item"] == {"reference": "é"}
