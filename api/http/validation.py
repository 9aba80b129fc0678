"""Turns FastAPI's validation errors into OpenAI's form. The message says which values are allowed.

The allowed values come from the route's own OpenAPI schema, so that messages and documentation always agree.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse

from api.http.errors import error_response
from api.monitoring.requests import note_error
from core.errors import InvalidRequest
from core.options import OTHER_NAMES, UNSUPPORTED

Schema = dict[str, Any]
Names = Mapping[str, Mapping[str, str]]  # the hints of OTHER_NAMES

MAX_FINDINGS = 100  # further findings are not explained: a large body may have any number of faults
MAX_NAMED_OTHERS = 8
EXACT_UP_TO = 2**53  # the schema holds bounds as floats, which may leave out larger whole numbers


async def answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose body or query FastAPI refuses."""
    assert isinstance(error, RequestValidationError)
    openapi = request.app.openapi()
    operation = openapi["paths"][request.scope["route"].path_format][request.method.lower()]
    components = openapi["components"]["schemas"]
    found = error.errors()
    explained = [explain(finding, operation, components) for finding in found[:MAX_FINDINGS]]
    first = _deepest(explained)
    answered = _with_others(first, explained, all_known=len(found) <= MAX_FINDINGS)
    note_error(request.scope, answered.code)
    return error_response(answered)


def explain(finding: dict[str, Any], operation: Schema, components: Schema) -> InvalidRequest:
    """Return the error for a `finding` of pydantic: code, parameter as a dotted path, and a sentence."""
    location, *path = finding["loc"]
    if finding["type"] == "json_invalid":
        where = f" (at character {path[0]})" if path[0] else ""
        return InvalidRequest(
            f"The body is not valid JSON: {finding['ctx']['error']}{where}.", code="invalid_json"
        )
    wrong_tag = finding["type"].startswith("union_tag")
    if location == "body" and not path and not wrong_tag:
        return InvalidRequest(
            "The body must be a JSON object, sent with Content-Type: application/json.", code="invalid_json"
        )
    schema = _body(operation) if location == "body" else _query(operation)
    names: Names = _object(schema, components).get(OTHER_NAMES, {})
    located, schema = _locate(schema, [str(part) for part in path], components)
    param = ".".join(located)
    if UNSUPPORTED in schema:
        return _unsupported(param, schema[UNSUPPORTED])
    if wrong_tag and "discriminator" in schema:
        return _wrong_tag(located, schema["discriminator"], finding["input"], names)
    if finding["type"] == "missing":
        return _missing(param)
    if finding["type"] == "extra_forbidden":
        return _unknown_parameter(located, str(path[-1])[:64], schema, names)
    choices = _choices(schema)
    allowed = f"On offer: {_list(choices)}." if choices else f"It must be {words(schema, components)}."
    allowed = _hint(names, param, finding["input"]) or allowed
    given = "" if schema.get("writeOnly") else f": {_quoted(finding['input'])}"
    return InvalidRequest(f"Invalid value for '{param}'{given}. {allowed}", code="invalid_value", param=param)


def _deepest(explained: list[InvalidRequest]) -> InvalidRequest:
    """Return the first error, or the one among those within its parameter that lies deepest.

    If a value has none of several forms, pydantic reports it for each form. The form that fits furthest is
    probably the one that was meant.
    """
    first = explained[0]
    within = [error for error in explained if _holds(first.param, error.param)]
    return max(within, key=lambda error: (error.param or "").count("."), default=first)


def _holds(param: str | None, other: str | None) -> bool:
    """Return whether the parameter `other` is `param`, or lies within it."""
    return param is not None and other is not None and f"{other}.".startswith(f"{param}.")


def _with_others(first: InvalidRequest, found: list[InvalidRequest], all_known: bool) -> InvalidRequest:
    """Return the first error, with the names of the other wrong parameters in its message.

    OpenAI's form has room for one error only.
    """
    others = [error.param for error in found if error.param and not _holds(error.param, first.param)]
    params = list(dict.fromkeys(others))
    if not params:
        return first
    named = [f"'{param}'" for param in params[:MAX_NAMED_OTHERS]]
    if more := len(params) - len(named):
        named.append(f"{more} more" if all_known else f"at least {more} more")
    return InvalidRequest(f"{first.message} Also wrong: {_list(named)}.", code=first.code, param=first.param)


def _unknown_parameter(located: list[str], name: str, schema: Schema, names: Names) -> InvalidRequest:
    param = ".".join([*located, name])
    where = f"'{'.'.join(located)}'" if located else "The request"
    taken = [each for each, inner in schema.get("properties", {}).items() if UNSUPPORTED not in inner]
    hint = _hint(names, ".".join(located), name)
    return InvalidRequest(
        f"Unknown parameter: '{param}'. {hint or f'{where} takes {_list(taken)}.'}",
        code="unknown_parameter",
        param=param,
    )


def _unsupported(param: str, instead: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{param}' is not supported here, and must be null. {instead}.",
        code="unsupported_parameter",
        param=param,
    )


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def _wrong_tag(
    located: list[str], discriminator: Schema, given: dict[str, Any], names: Names
) -> InvalidRequest:
    """Return the error for an object whose tag, such as `type`, is missing or names no known kind."""
    name = discriminator["propertyName"]
    param = ".".join([*located, name])
    if name not in given:
        return _missing(param)
    kinds = _list([json.dumps(kind) for kind in discriminator["mapping"]])
    hint = _hint(names, param, given[name])
    return InvalidRequest(
        f"Invalid value for '{param}': {_quoted(given[name])}. {hint or f'On offer: {kinds}.'}",
        code="invalid_value",
        param=param,
    )


def _hint(names: Names, param: str, given: Any) -> str:
    """Return what to send in location of a name that other programs use at `param`, or nothing."""
    written = str(given).lower().replace("-", "_").replace(" ", "_")
    hint = names.get(param, {}).get(written)
    return f"{hint}." if hint else ""


def _body(operation: Schema) -> Schema:
    schema: Schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


def _query(operation: Schema) -> Schema:
    return {"properties": {entry["name"]: entry["schema"] for entry in operation["parameters"]}}


def _locate(schema: Schema, path: list[str], components: Schema) -> tuple[list[str], Schema]:
    """Follow `path` through the schema, and return the parts that were found and the schema at their end.

    Pydantic adds the branch of a union to the path. Such a part is skipped.
    """
    located: list[str] = []
    schema = _object(schema, components)
    for part in path:
        kinds = schema.get("discriminator", {}).get("mapping", {})
        if part in kinds:
            schema = _object({"$ref": kinds[part]}, components)
            continue
        inner = _member(schema, part, components)
        if inner is None and "anyOf" in schema:
            continue
        if inner is None:
            break
        located.append(part)
        schema = _object(inner, components)
    return located, schema


def _member(schema: Schema, part: str, components: Schema) -> Schema | None:
    """Return the schema of a property or item, of the first form of the value that has one, or None."""
    for form in schema.get("anyOf", [schema]):
        form = _object(form, components)
        found = form.get("properties", {}).get(part, form.get("items") if part.isdigit() else None)
        patterns = form.get("patternProperties", {})
        found = found or next((patterns[each] for each in patterns if re.search(each, part)), None)
        if found is not None:
            return dict(found)
    return None


def _object(schema: Schema, components: Schema) -> Schema:
    """Return the schema that a `$ref` names, or the only one beside null in an `anyOf`, or else `schema`."""
    if "$ref" in schema:
        return _object(components[schema["$ref"].rsplit("/", 1)[-1]], components)
    others = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    return _object(others[0], components) if len(others) == 1 else schema


def _choices(schema: Schema) -> list[str]:
    if "const" in schema:
        return [json.dumps(schema["const"])]
    return [json.dumps(choice) for choice in schema.get("enum", [])]


def words(schema: Schema, components: Schema) -> str:
    """Return in words what a schema allows, such as "an integer from 1 to 256"."""
    schema = _object(schema, components)
    if choices := _choices(schema):
        return _list(choices, "or")
    if "discriminator" in schema:
        kinds = [json.dumps(kind) for kind in schema["discriminator"]["mapping"]]
        return f"an object with the {schema['discriminator']['propertyName']} {_list(kinds, 'or')}"
    if "anyOf" in schema:
        return _list([words(option, components) for option in schema["anyOf"]], "or")
    match schema.get("type"):
        case "integer" | "number" as kind:
            return ("an integer" if kind == "integer" else "a number") + _range(schema)
        case "string":
            return "a string" + _count(schema, "Length", "character") + _pattern(schema)
        case "array":
            return f"a list{_count(schema, 'Items', 'item')}"
        case "object" if schema.get("maxProperties") == 0:
            return "an empty object"
        case "object" if "additionalProperties" in schema and "properties" not in schema:
            return "an object" + _count(schema, "Properties", "pair") + _members(schema, components)
        case "object" if "patternProperties" in schema:
            keys = [_pattern({"pattern": pattern}) for pattern in schema["patternProperties"]]
            return f"an object, each key a string{_list(keys, 'or')}"
        case "object":
            return "an object"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
    return "something else"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}" if low != high else f" equal to {_number(low)}"
    bounds = [
        f"{words} {_number(schema[key])}"
        for key, words in (
            ("minimum", "of at least"),
            ("exclusiveMinimum", "greater than"),
            ("maximum", "of at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in schema
    ]
    return " " + " and ".join(bounds) if bounds else ""


def _number(bound: float) -> str:
    """Return a bound as its user may send it. A whole number keeps all its digits, if a float holds them."""
    return str(int(bound)) if abs(bound) <= EXACT_UP_TO and bound == int(bound) else f"{bound:.10g}"


def _count(schema: Schema, of: str, noun: str) -> str:
    least, most = schema.get(f"min{of}"), schema.get(f"max{of}")
    if least and most:
        return f" of {least} to {most} {noun}s"
    if least:
        return f" of at least {least} {noun}{'s' if least > 1 else ''}"
    return f" of at most {most} {noun}s" if most else ""


def _pattern(schema: Schema) -> str:
    return f" that matches {schema['pattern']}" if "pattern" in schema else ""


def _members(schema: Schema, components: Schema) -> str:
    keys = words({"type": "string", **schema.get("propertyNames", {})}, components)
    values = schema["additionalProperties"]
    return (
        f", each key {keys} and each value {words(values, components)}"
        if values not in ({}, True, False)
        else ""
    )


def _quoted(value: Any) -> str:
    if isinstance(value, str | int | float | bool | None):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 64 else text[:64] + "…"
    kind = "object" if isinstance(value, dict) else "list"
    return f"{'an' if kind == 'object' else 'a'} {kind}" if value else f"an empty {kind}"


def _list(words: list[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
