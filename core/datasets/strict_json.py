"""Parses one line as strict JSON, or says where and why the line is not strict JSON."""

import json
import re
from typing import Any

from core.strict_json import NotANumber, mark_repeated_keys, refuse_constant

STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|(NaN|-?Infinity)')


class UnreadableLine(Exception):
    """A line is not strict JSON: `code` says why for programs, str() for people. Places count from 1."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(line: bytes) -> Any:
    """Return the value of a line. An object in which a key occurs twice becomes a `RepeatedKeys`.

    Raises UnreadableLine if the line is not UTF-8, is not JSON (NaN and Infinity are not JSON either), or is
    nested deeper than the interpreter's stack allows.
    """
    text = _decode(line)
    try:
        return json.loads(text, object_pairs_hook=mark_repeated_keys, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise UnreadableLine("invalid_json", _syntax_message(text, error)) from None
    except NotANumber as error:
        column = next(m.start() + 1 for m in STRING_OR_CONSTANT.finditer(text) if m[1])
        message = f"{error} at column {column} is not JSON; use a number or null"
        raise UnreadableLine("invalid_json", message) from None
    except RecursionError:
        raise UnreadableLine("too_deep", "the row is nested too deeply; flatten it") from None
    except ValueError:  # int() refuses numbers of thousands of digits
        raise UnreadableLine("invalid_json", "the row has a number with too many digits") from None


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        raise UnreadableLine("invalid_utf8", f"{where} is not UTF-8; save the file as UTF-8") from None


def _syntax_message(text: str, error: json.JSONDecodeError) -> str:
    column = error.pos + 1
    if error.msg == "Extra data":
        return f"the JSON ends before column {column}; write one row on each line"
    if error.pos >= len(text.rstrip()):
        return "the JSON is incomplete at the end of the line; write each row on one line"
    return f"not JSON at column {column}: {error.msg[:1].lower()}{error.msg[1:]}"
