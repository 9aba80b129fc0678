"""What an answer must match follows from the request."""

import json
from typing import Any

import jsonschema
import pytest

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from tests.fixtures.models.tiny import text
from worker.engine.sampler.grammars import Grammars
from worker.engine.sampler.requests import Grammar
from worker.rendering.tool_forms import LLAMA, TAGGED
from worker.server.answering.grammars import grammar_of


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or None}}


def request(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "hi"}], **body})


def schema_of(**body: Any) -> Any:
    grammar = grammar_of(request(**body), TAGGED)
    assert grammar is not None
    assert grammar.kind == "json_schema"
    return json.loads(grammar.source)


def test_text_needs_no_grammar() -> None:
    assert grammar_of(request(), TAGGED) is None
    assert grammar_of(request(response_format={"type": "text"}), TAGGED) is None
    assert grammar_of(request(tools=[tool("a")]), TAGGED) is None


def test_a_call_that_is_required_is_one_of_the_tools() -> None:
    tools = [tool("a", type="object", properties={"x": {"type": "integer"}}, required=["x"]), tool("b")]
    schema = schema_of(tools=tools, tool_choice="required")
    jsonschema.validate({"name": "a", "arguments": {"x": 1}}, schema)
    jsonschema.validate({"name": "b", "arguments": {}}, schema)
    for wrong in ({"name": "a", "arguments": {}}, {"name": "c", "arguments": {}}, {"name": "b"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_named_tool_is_the_only_one_and_arguments_have_the_models_own_key() -> None:
    body = {
        "tools": [tool("a"), tool("b")],
        "tool_choice": {"type": "function", "function": {"name": "b"}},
    }
    grammar = grammar_of(request(**body), LLAMA)
    assert grammar is not None
    schema = json.loads(grammar.source)
    jsonschema.validate({"name": "b", "parameters": {}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "parameters": {}}, schema)


def test_references_within_the_schemas_of_tools_stay_apart() -> None:
    def with_definition(name: str, kind: str) -> dict[str, Any]:
        parameters = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "required": ["x"]}
        return tool(name, **parameters, **{"$defs": {"X": {"type": kind}}})

    tools = [with_definition("a", "integer"), with_definition("b", "string")]
    schema = schema_of(tools=tools, tool_choice="required")
    jsonschema.validate({"name": "a", "arguments": {"x": 1}}, schema)
    jsonschema.validate({"name": "b", "arguments": {"x": "1"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "b", "arguments": {"x": 1}}, schema)


def test_a_form_and_tools_that_may_be_called_exclude_each_other() -> None:
    wanted = {"response_format": {"type": "json_object"}, "tools": [tool("a")]}
    with pytest.raises(InvalidRequest) as refused:
        grammar_of(request(**wanted), TAGGED)
    assert refused.value.param == "response_format"
    grammar = grammar_of(request(**wanted, tool_choice="none"), TAGGED)
    assert grammar is not None
    assert grammar.kind == "json_object"


PAINT = {
    **{"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}},
    **{"required": ["colour"], "additionalProperties": False},
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    tokenizer = text()
    return Grammars(tokenizer, len(tokenizer), frozenset([tokenizer.eos_token_id]))


def follows(grammars: Grammars, grammar: Grammar, answer: str) -> str:
    """Return the beginning of the answer that the grammar admits."""
    state, tokens = grammars.start(grammar), text()(answer, add_special_tokens=False)["input_ids"]
    for place, token in enumerate(tokens):
        if not state.allowed_V()[token]:
            return text().decode(tokens[:place])
        state.advance(token)
    return answer


@pytest.mark.parametrize(
    ("answer", "admitted"),
    [
        ("I would rather not. <b>", None),
        ('Well: <tool_call>\n{"name": "paint", "arguments": {"colour": "red"}}\n</tool_call> Done.', None),
        ('<tool_call>{"name": "look", "arguments": {"any": [1]}}</tool_call> <tool_call>', None),
        ('<tool_call>{"name": "paint", "arguments": {"colour": "green"}}', '"colour": "'),
        ('Well: <tool_call>{"name": "sing"}', '{"name": "'),
        ("<tool_call>no JSON", "<tool_call>"),
    ],
)
def test_a_strict_tool_that_may_be_called_gets_arguments_of_its_schema(
    grammars: Grammars, answer: str, admitted: str | None
) -> None:
    paint = tool("paint", **PAINT)
    paint["function"]["strict"] = True
    grammar = grammar_of(request(tools=[paint, tool("look")]), TAGGED)
    assert grammar is not None
    found = follows(grammars, grammar, answer)
    assert found == answer if admitted is None else found.endswith(admitted)
    assert grammar_of(request(tools=[paint]), LLAMA) is None
