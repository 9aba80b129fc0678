"""Criteria that compare texts give known texts known scores."""

import json
from typing import Any

import pytest

from core.evals.criteria import CRITERION
from core.graders.sample import Sample
from worker.grading.row_failed import RowFailed
from worker.tasks.evaluation.texts import judge_text

FIELDS = '{"a": 1, "b": "x", "c": true}'


def judged(sample: str, reference: Any, /, **criterion: Any) -> Any:
    return judge_text(
        CRITERION.validate_python({"name": "it", **criterion}), {"reference": reference}, Sample(sample)
    )


@pytest.mark.parametrize(("text", "score"), [(" yes\n", 1.0), ("Yes", 0.0), ("", 0.0)])
def test_an_exact_match_ignores_white_space_around(text: str, score: float) -> None:
    found = judged(text, "yes ", type="exact_match")
    assert (found.score, found.passed, found.counts) == (score, score == 1, None)


def test_a_label_is_counted_with_what_was_predicted() -> None:
    found = judged("spam\n", "ham", type="label_f1")
    assert (found.score, found.counts) == (0.0, {"label": "ham", "predicted": "spam"})


@pytest.mark.parametrize(
    ("text", "fields", "counts", "score"),
    [
        (FIELDS, None, {"a": [1, 0, 0], "b": [1, 0, 0], "c": [1, 0, 0]}, 1.0),
        ('{"a": 1.0, "b": "y"}', None, {"a": [1, 0, 0], "b": [0, 1, 1], "c": [0, 0, 1]}, 0.4),
        ('{"c": 1, "a": true}', None, {"a": [0, 1, 1], "b": [0, 0, 1], "c": [0, 1, 1]}, 0.0),
        ('{"d": 1}', ["d", "e"], {"d": [0, 1, 0], "e": [0, 0, 0]}, 0.0),
        ("no JSON", ["a"], {"a": [0, 0, 1]}, 0.0),
        ("[1]", ["z"], {"z": [0, 0, 0]}, 1.0),
        ("[" * 100_000, ["a"], {"a": [0, 0, 1]}, 0.0),
    ],
)
def test_fields_are_counted_one_by_one(
    text: str, fields: list[str] | None, counts: dict[str, list[int]], score: float
) -> None:
    found = judged(text[:60_000], FIELDS, type="field_f1", fields=fields, pass_threshold=0.4)
    assert found.counts == counts
    assert found.score == pytest.approx(score)
    assert found.passed == (score >= 0.4)


def test_a_reference_may_be_an_object_of_the_item() -> None:
    assert judged(FIELDS, {"a": 1}, type="field_f1").score == 1.0


@pytest.mark.parametrize(
    ("criterion", "reference", "code"),
    [
        ({"type": "field_f1"}, "no JSON", "reference_no_object"),
        ({"type": "exact_match", "reference": "{{ item.other }}"}, "x", "invalid_variable_error"),
        ({"type": "exact_match", "reference": "{{ sample.output_json }}"}, "x", "sample_parse_error"),
        ({"type": "exact_match", "reference": "{{ 1 + 1 }}"}, "x", "invalid_template"),
        ({"type": "exact_match"}, "x" * 70_000, "text_too_long"),
        ({"type": "label_f1"}, "x" * 257, "label_too_long"),
        ({"type": "field_f1"}, json.dumps({"x" * 257: 1}), "field_too_long"),
    ],
)
def test_a_row_without_a_usable_reference_is_not_judged(
    criterion: dict[str, Any], reference: str, code: str
) -> None:
    with pytest.raises(RowFailed) as raised:
        judged("x", reference, **criterion)
    assert raised.value.code == code
