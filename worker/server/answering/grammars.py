"""What an answer must match: the form that the request asks for, or a call of one of its tools."""

import json
from typing import Any

from core.errors import InvalidRequest
from core.response_formats import JsonObjectFormat, JsonSchemaFormat
from core.serving.schemas.chat import ChatRequest, Tool
from worker.engine.sampler.grammars import JSON_OPTIONS
from worker.engine.sampler.requests import Grammar
from worker.rendering.tool_forms import NAME, ToolForm
from worker.server.answering.tool_choice import must_call, tool_names

Schema = dict[str, Any]
DEFINITIONS = ("$defs", "definitions")

# Any text, with calls in it that have the form of a schema. A lazy lexeme ends at the first opening mark.
TEXT_WITH_CALLS = """
%llguidance {{}}
start: call* TEXT
call: opened /[ \\n]{{0,4}}/ %json {schema} /[ \\n]{{0,4}}/ {closing}
opened[lazy]: TEXT {opening}
TEXT: /(.|\\n)*/
"""


def grammar_of(request: ChatRequest, form: ToolForm) -> Grammar | None:
    """Return the grammar of every answer, or None if any text will do. Raises InvalidRequest."""
    wanted = request.response_format
    structured = isinstance(wanted, JsonObjectFormat | JsonSchemaFormat)
    names = tool_names(request)
    tools = [tool for tool in request.tools or () if tool.function.name in names]
    if structured and tools:
        raise InvalidRequest(
            f"'response_format' {wanted.type} cannot be combined with tools that the model may call. "  # type: ignore[union-attr]
            "Leave one of them out, or set 'tool_choice' to 'none'.",
            code="invalid_value",
            param="response_format",
        )
    if forced := must_call(request):
        tools = [tool for tool in tools if tool.function.name in forced]
        return Grammar("json_schema", json.dumps(call_schema(tools, form.arguments)))
    if form.opening and any(tool.function.strict for tool in tools):
        return text_with_calls(tools, form)
    if isinstance(wanted, JsonSchemaFormat):
        return Grammar("json_schema", json.dumps(wanted.json_schema.schema_ or {}))
    return Grammar("json_object") if structured else None


def text_with_calls(tools: list[Tool], form: ToolForm) -> Grammar:
    """Return the grammar of text with calls in it. A tool that is not strict may get any arguments."""
    loose = [tool if tool.function.strict else _without_parameters(tool) for tool in tools]
    schema = {**call_schema(loose, form.arguments), "x-guidance": JSON_OPTIONS}
    marks = {"opening": json.dumps(form.opening), "closing": json.dumps(form.closing)}
    return Grammar("lark", TEXT_WITH_CALLS.format(schema=json.dumps(schema), **marks))


def _without_parameters(tool: Tool) -> Tool:
    return tool.model_copy(update={"function": tool.function.model_copy(update={"parameters": None})})


def call_schema(tools: list[Tool], arguments: str) -> Schema:
    """Return the JSON schema of a call of one of the tools. `arguments` is the key that the model writes."""
    definitions: Schema = {}
    calls = []
    for number, tool in enumerate(tools):
        parameters = _hoisted(tool.function.parameters or {"type": "object"}, f"tool{number}_", definitions)
        properties = {NAME: {"const": tool.function.name}, arguments: parameters}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": [NAME, arguments],
                "additionalProperties": False,
            }
        )
    schema: Schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _hoisted(schema: Schema, prefix: str, definitions: Schema) -> Schema:
    """Move a schema's definitions to `definitions`: references begin at the root of the document."""
    moved = {key: schema[key] for key in DEFINITIONS if isinstance(schema.get(key), dict)}
    rest = {key: value for key, value in schema.items() if key not in moved}
    for group in moved.values():
        for name, definition in group.items():
            definitions[prefix + name] = _renamed(definition, prefix)
    renamed: Schema = _renamed(rest, prefix)
    return renamed


def _renamed(value: Any, prefix: str) -> Any:
    """Return the schema with its references to definitions under their new names."""
    if isinstance(value, list):
        return [_renamed(each, prefix) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _reference(each, prefix) if key == "$ref" and isinstance(each, str) else _renamed(each, prefix)
        for key, each in value.items()
    }


def _reference(target: str, prefix: str) -> str:
    for group in DEFINITIONS:
        if target.startswith(f"#/{group}/"):
            return f"#/$defs/{prefix}{target.removeprefix(f'#/{group}/')}"
    return target
