"""Reads one line of JSON strictly, and says where and why it cannot be read."""

import json
import re
from typing import Any

from core.strict_json import NotANumber, mark_repeated_keys, refuse_constant

STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity)')


class Unreadable(Exception):
    """Why a line is not strict JSON: `code` for programs, str() for a person. Places count from 1."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(line: bytes) -> Any:
    """The value of a line. An object with a key that stands twice comes as `RepeatedKeys`.

    Raises Unreadable where the line is not UTF-8, not JSON (which NaN and Infinity are not), or nested deeper
    than the interpreter's stack allows.
    """
    text = _decode(line)
    try:
        return json.loads(text, object_pairs_hook=mark_repeated_keys, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise Unreadable("invalid_json", _syntax_message(text, error)) from None
    except NotANumber as error:
        column = next(m.start() + 1 for m in STRING_OR_CONSTANT.finditer(text) if m[1])
        message = f"{error} at column {column} is not JSON; use a number or null"
        raise Unreadable("invalid_json", message) from None
    except RecursionError:
        raise Unreadable("too_deep", "the row is nested too deeply; flatten it") from None
    except ValueError:  # int() refuses numbers of thousands of digits
        raise Unreadable("invalid_json", "the row holds a number with too many digits") from None


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        raise Unreadable("invalid_utf8", f"{place} is not UTF-8; save the file as UTF-8") from None


def _syntax_message(text: str, error: json.JSONDecodeError) -> str:
    column = error.pos + 1
    if error.msg == "Extra data":
        return f"the JSON ends before column {column}; write one row on each line"
    if error.pos >= len(text.rstrip()):
        return "the JSON is incomplete at the end of the line; write each row on one line"
    return f"not JSON at column {column}: {error.msg[:1].lower()}{error.msg[1:]}"
