"""Graders over real HTTP: the rewards of samples, and which graders can be used."""

from typing import Any

import httpx
import pytest
from openai.types.fine_tuning.alpha import GraderRunResponse, GraderValidateResponse

from core.graders.sample import Sample
from core.graders.schemas import MAX_TEXT
from core.graders.templates import TooLong, render
from tests.fixtures.service.api import Tenant, refusal, strictly
from tests.fixtures.work.evals_api import CHECK

URL = "/v1/fine_tuning/alpha/graders"
SIMILAR = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "rouge_1",
}
SCORED = {
    "type": "score_model",
    "name": "judge",
    "model": "tiny-model",
    "input": [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": [{"type": "input_text", "text": "{{ sample.output_text }}"}, "again"]},
    ],
    "range": [0, 10],
    "sampling_params": {"temperature": 0.5},
}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


def run(tenant: Tenant, grader: dict[str, Any], sample: str, item: Any = None) -> GraderRunResponse:
    body = {"grader": grader, "model_sample": sample, "item": item}
    answer = tenant.http.post(f"{URL}/run", json=body)
    assert answer.status_code == 200, answer.text
    return GraderRunResponse.model_validate(answer.json(), strict=True)


def validate(tenant: Tenant, grader: Any) -> httpx.Response:
    return tenant.http.post(f"{URL}/validate", json={"grader": grader})


@pytest.mark.parametrize(
    ("operation", "sample", "answer", "reward"),
    [
        ("eq", "Paris", "Paris", 1),
        ("eq", "paris", "Paris", 0),
        ("ne", "paris", "Paris", 1),
        ("like", "It is Paris.", "Paris", 1),
        ("like", "It is paris.", "Paris", 0),
        ("ilike", "It is PARIS.", "paris", 1),
    ],
)
def test_a_string_is_compared(alice: Tenant, operation: str, sample: str, answer: str, reward: float) -> None:
    made = alice.openai.fine_tuning.alpha.graders.run(
        grader={**CHECK, "operation": operation},  # type: ignore[typeddict-item]
        model_sample=sample,
        item={"answer": answer},
    )
    assert made.reward == reward
    assert (made.metadata.name, made.metadata.type, made.metadata.scores) == (
        "same",
        "string_check",
        {"same": reward},
    )


CAT, REFERENCE = "the cat sat on the mat", "the cat is on the mat"


@pytest.mark.parametrize(
    ("metric", "reward"),
    [
        ("rouge_1", 5 / 6),
        ("rouge_2", 3 / 5),
        ("rouge_3", 1 / 4),
        ("rouge_4", 0),
        ("rouge_5", 0),
        ("rouge_l", 5 / 6),
        ("gleu", (5 + 3 + 1 + 0) / (6 + 5 + 4 + 3)),
        ("fuzzy_match", 2 * 20 / (22 + 21)),
        ("bleu", (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25),
    ],
)
def test_a_metric_has_its_textbook_value(alice: Tenant, metric: str, reward: float) -> None:
    """BLEU halves the precision of an order of n-grams without a match: this is sacrebleu's smoothing."""
    grader = {**SIMILAR, "evaluation_metric": metric}
    assert run(alice, grader, CAT, {"answer": REFERENCE}).reward == pytest.approx(reward, abs=1e-6)
    assert run(alice, grader, REFERENCE, {"answer": REFERENCE}).reward == pytest.approx(1)
    assert run(alice, grader, "", {"answer": REFERENCE}).reward == 0


@pytest.mark.parametrize("metric", ["rouge_1", "rouge_l", "gleu", "fuzzy_match"])
def test_texts_of_any_script_are_compared_and_long_ones_in_a_moment(alice: Tenant, metric: str) -> None:
    grader = {**SIMILAR, "evaluation_metric": metric}
    assert run(alice, grader, "кошка сидит", {"answer": "кошка сидит"}).reward == pytest.approx(1)
    made = run(alice, grader, "a b " * 16_000, {"answer": "b a " * 16_000})
    assert made.metadata.execution_time < 10


def test_a_multi_grader_weighs_its_parts(alice: Tenant) -> None:
    grader = multi("max(0, same * 2 + alike ^ 2 / 4) - 0.5", same=CHECK, alike=SIMILAR)
    made = run(alice, grader, "Paris", {"answer": "Paris"})
    assert made.reward == pytest.approx(1.75)
    assert made.sub_rewards == {"same": 1, "alike": 1}
    single = {**grader, "graders": CHECK, "calculate_output": "same - 3"}
    assert run(alice, single, "Paris", {"answer": "Paris"}).reward == -2


def test_templates_reach_into_items_and_json(alice: Tenant) -> None:
    grader = {**CHECK, "input": "{{ sample.output_json.city }}/{{item.list[1]}}/{{ item['a b'] }}"}
    item = {"answer": "Bonn/2/{{ item.answer }}", "list": [1, 2], "a b": "{{ item.answer }}"}
    assert run(alice, grader, '{"city": "Bonn"}', item).reward == 1


@pytest.mark.parametrize(
    ("grader", "sample", "item", "error"),
    [
        (CHECK, "x", {}, "invalid_variable_error"),
        (CHECK, "x", None, "invalid_variable_error"),
        ({**CHECK, "input": "{{ sample.__class__ }}"}, "x", {"answer": "x"}, "invalid_variable_error"),
        ({**CHECK, "input": "{{ sample.output_json.a }}"}, "no JSON", {"answer": "x"}, "sample_parse_error"),
        (multi("1 / same", same=CHECK), "x", {"answer": "y"}, "other_error"),
        (multi("10 ^ (900 * same)", same=CHECK), "x", {"answer": "x"}, "other_error"),
    ],
)
def test_what_goes_wrong_with_a_sample_is_told(
    alice: Tenant, grader: dict[str, Any], sample: str, item: Any, error: str
) -> None:
    made = run(alice, grader, sample, item)
    assert made.reward == 0
    errors = made.metadata.errors.model_dump(by_alias=True)
    assert [name for name, value in errors.items() if value] == [error]


@pytest.mark.parametrize("grader", [CHECK, SIMILAR, SCORED, {**multi("same"), "graders": CHECK}])
def test_a_valid_grader_is_given_back(alice: Tenant, grader: dict[str, Any]) -> None:
    answer = validate(alice, grader)
    assert answer.json() == {"grader": grader}
    strictly(GraderValidateResponse, answer.json())
    assert alice.openai.fine_tuning.alpha.graders.validate(grader=grader).grader is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({"name": "x"}, "grader.type"),
        ({"type": "oracle", "name": "x"}, "grader.type"),
        ({**CHECK, "operation": "like it"}, "grader.operation"),
        ({key: value for key, value in CHECK.items() if key != "reference"}, "grader.reference"),
        ({**CHECK, "input": "{{ 7 * 7 }}"}, "grader.input"),
        ({**CHECK, "reference": "{{ item.x | upper }}"}, "grader.reference"),
        ({"type": "python", "name": "x", "source": "import os"}, "grader.source"),
        ({**SIMILAR, "evaluation_metric": "cosine"}, "grader.evaluation_metric"),
        ({**SIMILAR, "evaluation_metric": "meteor"}, "grader.evaluation_metric"),
        (multi("same + other", same=CHECK), "grader.calculate_output"),
        (multi("same +", same=CHECK), "grader.calculate_output"),
        (multi("__import__('os')", same=CHECK), "grader.calculate_output"),
        (multi("same.real", same=CHECK), "grader.calculate_output"),
        (multi("-" * 1500 + "same", same=CHECK), "grader.calculate_output"),
        (multi("(" * 900 + "same" + ")" * 900, same=CHECK), "grader.calculate_output"),
        (multi("a", a={**SIMILAR, "evaluation_metric": "cosine"}), "grader.graders.a.evaluation_metric"),
    ],
)
def test_a_grader_that_cannot_be_used_is_refused_by_both(alice: Tenant, grader: Any, param: str) -> None:
    refusal(validate(alice, grader), 400, param)
    answer = alice.http.post(f"{URL}/run", json={"grader": grader, "model_sample": "x"})
    refusal(answer, 400, param)


@pytest.mark.parametrize("grader", [SCORED, multi("judge", judge=SCORED)])
def test_a_grader_with_a_model_cannot_be_run_yet(alice: Tenant, grader: dict[str, Any]) -> None:
    assert validate(alice, grader).status_code == 200
    answer = alice.http.post(f"{URL}/run", json={"grader": grader, "model_sample": "x"})
    assert "chat model" in refusal(answer, 400, "grader", "grader_not_available")["message"]


def test_a_text_beyond_what_is_compared_is_refused_before_it_is_whole(alice: Tenant) -> None:
    """A template of a few hundred bytes could turn an item into gigabytes."""

    class Counted(dict[str, str]):
        asked = 0

        def __getitem__(self, name: str) -> str:
            self.asked += 1
            return super().__getitem__(name)

    item = Counted(text="x" * 60)
    with pytest.raises(TooLong):
        render("{{item.text}}" * 1000, item, Sample(""), 100)
    assert item.asked == 2
    grader = {**CHECK, "input": "{{ item.answer }}" * 3000}
    body = {"grader": grader, "model_sample": "x", "item": {"answer": "x" * 60_000}}
    refusal(alice.http.post(f"{URL}/run", json=body), 400, "item", "text_too_long")


def test_a_samples_json_is_parsed_once() -> None:
    sample = Sample('{"city": "Bonn"}')
    assert sample["output_json"] is sample["output_json"]


def test_a_template_of_opening_braces_is_looked_through_in_a_moment(alice: Tenant) -> None:
    answer = validate(alice, {**CHECK, "input": "{{ item.answer }}" + "{" * (MAX_TEXT - 17)})
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5
