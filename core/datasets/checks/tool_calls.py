"""Finds calls of tools that the row does not declare. Rows may be wrong in other ways, too."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class UndeclaredCall(NamedTuple):
    field: str
    name: str


def undeclared_calls(row: dict[str, Any]) -> Iterator[UndeclaredCall]:
    """Yield each call whose function is not in the row's `tools`."""
    declared = {_function_name(tool) for tool in _objects(row.get("tools"))}
    for index, message in enumerate(_objects(row.get("messages"))):
        for number, call in enumerate(_objects(message.get("tool_calls"))):
            name = _function_name(call)
            if name is not None and name not in declared:
                yield UndeclaredCall(f"messages[{index}].tool_calls[{number}].function.name", name)


def _objects(found: Any) -> list[dict[str, Any]]:
    """Return the list as it is if it holds objects only; a wrong list is another rule's finding."""
    right = isinstance(found, list) and all(isinstance(each, dict) for each in found)
    return found if right else []


def _function_name(holder: dict[str, Any]) -> str | None:
    function = holder.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
