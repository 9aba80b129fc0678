"""What graders get of a sample, which a model wrote or which came with its row."""

from typing import Any

import pytest

from core.endpoints.tools import ToolCall
from core.graders.sample import Sample
from worker.grading.row_failed import RowFailed
from worker.tasks.evaluation.samples import written

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
CALLED = (ToolCall("call_1", "weather", '{"city": "Bonn"}'),)


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ({"output": [{"role": "assistant", "content": "4"}]}, Sample("4")),
        ({"output": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]}, Sample("", CALLED)),
        ({"output": [{"role": "assistant", "content": "4", "tool_calls": None}]}, Sample("4")),
        ({"output_text": "4"}, Sample("4")),
        ({"output_text": "4", "output_tools": [CALL]}, Sample("4", CALLED)),
        ({"output_text": "4", "output_tools": []}, Sample("4")),
        ({"output_text": "4", "output": [{"content": "", "tool_calls": [CALL]}]}, Sample("4", CALLED)),
    ],
)
def test_a_sample_has_the_last_text_and_the_calls(sample: dict[str, Any], found: Sample) -> None:
    assert written(sample) == found


@pytest.mark.parametrize("sample", [{}, {"output": []}, {"output": "4"}, {"output_text": None}])
def test_a_row_without_a_text_has_no_sample(sample: dict[str, Any]) -> None:
    with pytest.raises(RowFailed) as failed:
        written(sample)
    assert failed.value.code == "no_sample"


@pytest.mark.parametrize(
    "calls", [3, ["weather"], [None], [{}], [{"function": {"name": "a", "arguments": {}}}], {"function": 1}]
)
def test_calls_in_another_form_are_an_error_of_the_row(calls: Any) -> None:
    with pytest.raises(RowFailed) as failed:
        written({"output_text": "4", "output_tools": calls})
    assert failed.value.code == "invalid_sample"
