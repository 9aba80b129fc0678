"""The chat row of OpenAI's supervised fine-tuning: `{"messages": [{"role": …, "content": …}, …]}`.

Two judges read a row. `is_plain` is fast and only ever says yes, to the kind of row that nearly every file
consists of; `explain` is slow, knows every rule and says what is wrong. Where the fast one says yes, the slow
one finds nothing.
"""

from itertools import islice

import msgspec

from core.datasets import strict_json
from core.datasets.chat_rules import ROLES, row_findings
from core.datasets.findings import Finding

MAX_ROW_FINDINGS = 20

_decode = msgspec.json.Decoder().decode


def check_row(line: bytes) -> list[Finding]:
    """What is wrong with one line of a dataset, without its line end; the first 20 findings at most."""
    return [] if is_plain(line) else explain(line)


def explain(line: bytes) -> list[Finding]:
    """As `check_row`, by every rule."""
    try:
        row = strict_json.parse(line)
    except strict_json.Unreadable as error:
        return [Finding("", error.code, str(error))]
    return list(islice(row_findings(row), MAX_ROW_FINDINGS))


def is_plain(line: bytes) -> bool:
    """Whether a row is plainly right; where not, only `row_findings` can tell.

    msgspec keeps the last of two equal keys and is silent about the first. The quotation marks betray it: a
    plain row has two around each of its strings and those inside them, so a line that holds more of them has
    a key that was lost or is not looked at here.
    """
    try:
        messages = _decode(line)["messages"]
        learnable = 0
        quotes = 2
        role = None
        for message in messages:
            role, content = message["role"], message["content"]
            if role not in ROLES or type(content) is not str:
                return False
            quotes += 8 + content.count('"')
            if role == "assistant":
                weight = message.get("weight", 1)
                if not content or type(weight) is not int or weight not in (0, 1):
                    return False
                learnable += weight
                quotes += 2 * ("weight" in message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return False
    if role != "assistant" or not learnable:
        return False
    return quotes == line.count(b'"') and b"\\u0022" not in line  # the escape hides a quotation mark
