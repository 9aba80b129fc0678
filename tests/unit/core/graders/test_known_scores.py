"""A formula may take scores that are known already, because a model gave them."""

from typing import Any

import pytest

from core.errors import InvalidRequest
from core.graders.grade import grade
from core.graders.sample import Sample
from core.graders.schemas import MultiGrader

CHECK: dict[str, Any] = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item }}",
    "operation": "eq",
}
SCORE: dict[str, Any] = {"type": "score_model", "name": "judge", "model": "tiny", "input": []}


def multi(**graders: Any) -> MultiGrader:
    return MultiGrader.model_validate(
        {"type": "multi", "name": "all", "graders": graders, "calculate_output": "same + 10 * judge"}
    )


def test_a_formula_takes_known_scores_and_computes_the_others() -> None:
    made = grade(multi(same=CHECK, judge=SCORE), "x", Sample("x"), {"judge": 0.5})
    assert (made.reward, made.scores) == (6.0, {"judge": 0.5, "same": 1.0})


def test_a_score_of_a_model_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Only an eval can use them"):
        grade(multi(same=CHECK, judge=SCORE), "x", Sample("x"))
