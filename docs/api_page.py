"""Writes all routes and shapes of the API as a page: `.venv/bin/python docs/api_page.py FILE`.

The build of the dashboard does it, and adds the page to the docs of the running service.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.document import openapi_document
from api.http.validation import words

Schema = dict[str, Any]

HEAD = """# Routes of the API

[The REST API](api.md) says what holds for every request. Every error is an [ErrorBody](#errorbody).
"""


def api_page(document: Schema) -> str:
    """Return the page of an OpenAPI document as Markdown."""
    return "\n".join(
        [HEAD, *_operations(document), "## Shapes\n", *_shapes(document["components"]["schemas"])]
    )


def _operations(document: Schema) -> Iterator[str]:
    components, tag = document["components"]["schemas"], None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"## {tag}\n"
            yield f"### `{method.upper()} {path}`\n"
            if "description" in operation:
                yield f"{operation['description']}\n"
            if parameters := operation.get("parameters"):
                yield _table("parameter", [_parameter(each, components) for each in parameters])
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"Body, `{media_type}`: {_type(content['schema'], components)}.\n"
                if "properties" in content["schema"]:
                    yield _fields(content["schema"], components)
            yield f"{_answers(operation['responses'], components)}\n"


def _answers(responses: Schema, components: Schema) -> str:
    """Return a sentence with an operation's answers, by status. The page's top describes all errors."""
    found = []
    for status, response in sorted(responses.items()):
        shapes = [_type(content["schema"], components) for content in response.get("content", {}).values()]
        if status < "300" and shapes:
            found.append(f"`{status}`: {' or '.join(shapes)}")
        elif status < "400":
            found.append(f"`{status}`: {_line(response['description'])}")
        elif status != "default":
            found.append(f"`{status}`")
    return f"Answers {', '.join(found)}."


def _shapes(components: Schema) -> Iterator[str]:
    for name, schema in sorted(components.items()):
        yield f"### {name}\n"
        if "description" in schema:
            yield f"{schema['description']}\n"
        yield _fields(schema, components)


def _fields(schema: Schema, components: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        (name, _default(field, name in required), _type(field, components), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table("field", rows)


def _parameter(parameter: Schema, components: Schema) -> tuple[str, str, str, str]:
    schema = parameter["schema"]
    default = _default(schema, parameter.get("required", False))
    return parameter["name"], default, _type(schema, components), parameter.get("description", "")


def _default(schema: Schema, required: bool) -> str:
    return "required" if required else f"`{schema['default']}`" if schema.get("default") is not None else "–"


def _type(schema: Schema, components: Schema) -> str:
    """Return the type in words, with a link to each shape."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{re.sub(r'[^a-z0-9_-]', '', name.lower())})"
    if "anyOf" in schema:
        return " or ".join(_type(option, components) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"{words(schema, components)} of {_type(schema['items'], components)}"
    return "anything" if not {"type", "const", "enum"} & schema.keys() else words(schema, components)


def _table(first: str, rows: list[tuple[str, str, str, str]]) -> str:
    if not rows:
        return ""
    lines = [
        (first, "default", "type", "meaning"),
        ("---",) * 4,
        *((f"`{row[0]}`", *row[1:]) for row in rows),
    ]
    return "".join(f"| {' | '.join(_line(cell) for cell in cells)} |\n" for cells in lines)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(api_page(openapi_document()), "utf-8")
