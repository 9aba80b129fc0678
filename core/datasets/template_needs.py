"""What a row needs of the base model's chat template, beyond a place for the texts of messages.

A file remembers the first row that needs each of them. So a job is refused, when it is created, on a base
model whose template would leave them out.
"""

from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any, Literal, get_args

from core.datasets.conversations import conversations
from core.datasets.images import image_parts
from core.datasets.kinds import Kind
from core.datasets.tool_rules import tools_of

Need = Literal["tools", "reasoning_content", "images"]
NEEDS: tuple[Need, ...] = get_args(Need)

IN_WORDS: dict[str, str] = {
    "tools": "tools or calls of tools",
    "reasoning_content": "a reasoning ('reasoning_content')",
    "images": "an image",
}
CODES: dict[str, str] = {
    "tools": "chat_template_without_tools",
    "reasoning_content": "chat_template_without_reasoning",
    "images": "base_model_without_images",
}
MARKS = (b'"tool', b'"reasoning_content"', b'"image_url"')  # a row of JSON without these bytes needs nothing
# What a template's text must mention to have a place for the need
MENTIONED: dict[Need, tuple[str, ...]] = {
    "tools": ("tools", "tool_calls"),
    "reasoning_content": ("reasoning_content",),
    "images": ("image",),  # some templates of models without a tower mention it too: their jobs fail later
}


def needs_of(row: dict[str, Any], kind: Kind) -> frozenset[Need]:
    """Return what a checked row needs."""
    found: set[Need] = {"tools"} if tools_of(row) else set()
    for message in chain.from_iterable(messages for _, messages in conversations(row, kind)):
        if message.get("tool_calls") or message.get("role") == "tool":
            found.add("tools")
        if message.get("reasoning_content"):
            found.add("reasoning_content")
        if any(image_parts(message)):
            found.add("images")
    return frozenset(found)


def needs_served(template: str | Mapping[str, str] | None) -> list[Need]:
    """Return the needs for which a chat template, or one of several by their names, has a place."""
    texts = [template or ""] if isinstance(template, str | None) else list(template.values())
    return [
        need
        for need, words in MENTIONED.items()
        if any(all(word in text for word in words) for text in texts)
    ]


def missing_needs(
    first_lines: Mapping[str, int], served: Collection[str], param: str | None, base_model: str = ""
) -> tuple[str, str] | None:
    """Return a code and sentences about the first need without a place, or None if all have theirs.

    `first_lines` has the first line of the file that needs each of them. `param` is the request's field that
    names the file. It is None for somebody who looks at one row, and knows which. Without `base_model`, the
    sentences do not name it.
    """
    lacking = [(line, need) for need, line in first_lines.items() if need not in served]
    if not lacking:
        return None
    line, need = min(lacking)
    named = f" {base_model}" if base_model else ""
    row = f"Line {line} of the {param.replace('_', ' ')}" if param else "The row"
    if need == "images":
        message = (
            f"{row} has an image, and the base model{named} reads none. Take one that does, or leave it out."
        )
    else:
        message = (
            f"{row} has {IN_WORDS[need]}, and the chat template of the base model{named} has no place for "
            "it. Take a base model whose template has, or leave it out of the rows."
        )
    return CODES[need], message
