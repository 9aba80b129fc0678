"""The chat row of OpenAI's supervised fine-tuning: `{"messages": [{"role": …, "content": …}, …]}`.

Two judges read a row. `plain_characters` is fast and only ever says yes, to the kind of row that nearly every
file consists of; `explain` is slow, knows every rule and says what is wrong. Where the fast one says yes, the
slow one finds nothing and counts the same characters.
"""

from itertools import islice

import msgspec

from core.datasets import strict_json
from core.datasets.chat_rules import ROLES, content_text, row_findings
from core.datasets.findings import Finding

MAX_ROW_FINDINGS = 20

_decode = msgspec.json.Decoder().decode


def check_row(line: bytes) -> list[Finding]:
    """What is wrong with one line of a dataset, without its line end; the first 20 findings at most."""
    return examine_row(line)[1]


def examine_row(line: bytes) -> tuple[int, list[Finding]]:
    """The characters of text in a row's messages (0 where the row is wrong), and what is wrong with it."""
    characters = plain_characters(line)
    return explain(line) if characters is None else (characters, [])


def explain(line: bytes) -> tuple[int, list[Finding]]:
    """As `examine_row`, by every rule."""
    try:
        row = strict_json.parse(line)
    except strict_json.Unreadable as error:
        return 0, [Finding("", error.code, str(error))]
    findings = list(islice(row_findings(row), MAX_ROW_FINDINGS))
    if findings:
        return 0, findings
    return sum(len(content_text(message["content"])) for message in row["messages"]), []


def plain_characters(line: bytes) -> int | None:
    """The characters of text in a row that is plainly right; None where only `row_findings` can tell.

    msgspec keeps the last of two equal keys and is silent about the first. The quotation marks betray it: a
    plain row has two around each of its strings and those inside them, so a line that holds more of them has
    a key that was lost or is not looked at here.
    """
    try:
        messages = _decode(line)["messages"]
        characters = learnable = 0
        quotes = 2
        role = None
        for message in messages:
            role, content = message["role"], message["content"]
            if role not in ROLES or type(content) is not str:
                return None
            characters += len(content)
            quotes += 8 + content.count('"')
            if role == "assistant":
                weight = message.get("weight", 1)
                if not content or type(weight) is not int or weight not in (0, 1):
                    return None
                learnable += weight
                quotes += 2 * ("weight" in message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return None
    if role != "assistant" or not learnable:
        return None
    if quotes != line.count(b'"') or b"\\u0022" in line:  # the escape hides a quotation mark
        return None
    return characters
