"""A sample as graders see it: its calls of tools beside its text."""

import json
import pickle

import pytest

from core.endpoints.tools import ToolCall
from core.graders.grade import grade
from core.graders.sample import NoJson, Sample, given
from core.graders.schemas import StringCheckGrader
from core.graders.templates import UnknownVariable, render

CALLED = Sample('{"a": 1}', (ToolCall("call_1", "weather", '{"city": "Bonn"}'),))
SHOWN = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ sample.output_tools }}", json.dumps(SHOWN)),
        ("{{ sample.output_tools[0].function.name }}", "weather"),
        ("{{ sample.output_tools[0].function.arguments }}", '{"city": "Bonn"}'),
        ("{{ sample.output_json.a }}", "1"),
    ],
)
def test_a_template_names_calls_of_tools(template: str, text: str) -> None:
    assert render(template, {}, CALLED, 1000) == text


def test_a_template_cannot_name_a_call_that_is_not_there() -> None:
    with pytest.raises(UnknownVariable):
        render("{{ sample.output_tools[1] }}", {}, CALLED, 1000)
    assert render("{{ sample.output_tools }}", {}, Sample("x"), 1000) == "[]"


def test_a_grader_compares_what_was_called() -> None:
    grader = StringCheckGrader(
        type="string_check",
        name="called",
        input="{{ sample.output_tools[0].function.name }}",
        reference="weather",
        operation="eq",
    )
    assert grade(grader, {}, CALLED).reward == 1
    assert grade(grader, {}, Sample("weather")).fault == "invalid_variable_error"


def test_a_python_grader_is_given_the_calls() -> None:
    sample, item = json.loads(given(CALLED, {"n": 1}))
    assert sample["output_tools"] == SHOWN
    assert item == {"n": 1}


def test_a_sample_goes_to_another_process_whatever_its_json_is() -> None:
    deep = Sample("[" * 900 + "]" * 900, CALLED.calls, "trace-1")
    assert deep["output_json"]
    copy = pickle.loads(pickle.dumps(deep))  # noqa: S301 (its own)
    assert copy == deep
    assert "parsed" not in vars(copy)
    with pytest.raises(NoJson):
        Sample("no JSON")["output_json"]
