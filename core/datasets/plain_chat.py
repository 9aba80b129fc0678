"""Recognises the plain chat row, the kind of row that nearly every file consists of, without the full rules.

A plain chat row has the form of OpenAI's supervised fine-tuning:
`{"messages": [{"role": …, "content": …}, …]}`. The fast check here is safe because it only ever accepts:
`chat_rules` has no finding on a row that `plain_chat` returns. `chat_rules` judges every other row.
"""

from typing import Any

import msgspec

from core.datasets.common_rules import PLAIN_ROLES

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def plain_chat(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line that is certainly a correct chat row. None: the full rules must decide.

    msgspec keeps the last of two equal keys and is silent about the first. Counting the quotation marks
    reveals the lost key: a plain row has two around each of its strings, and those inside the strings. A line
    with more of them has a repeated key, or a key that this function does not read.
    """
    try:
        row = _decode(line)
        messages = row["messages"]
        learnable = 0
        quotes = 2
        role = None
        for message in messages:
            role, content = message["role"], message["content"]
            if role not in PLAIN_ROLES or type(content) is not str:
                return None
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
    # The escape hides a quotation mark
    return row if quotes == line.count(b'"') and b"\\u0022" not in line else None
