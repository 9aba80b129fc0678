"""The base model's tokenizer and chat template as one row needs them: with the row's tools.

Servers give templates the same form (`worker/server/answering/prompts.py`): a model is asked as it was
trained.
"""

from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import TemplateError

from core.datasets.chat_rules import content_text
from core.datasets.common_rules import ABSENT
from core.datasets.kinds import Kind
from core.datasets.template_needs import missing_needs, needs_of, needs_served
from core.datasets.tool_rules import parsed_arguments, tools_of
from core.errors import JobError
from worker.rendering.images import ConversationImages

Message = dict[str, Any]

TOOL_KEYS = ("name", "description", "parameters", "strict")
MARK = "content3f9a60c1"

# jinja2's own errors, those of transformers, and those of a template's expressions on unexpected messages
REFUSALS = (
    TemplateError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


class RowTemplate:
    """Renders conversations of one row, and turns their texts into tokens."""

    def __init__(self, tokenizer: Any, row: dict[str, Any], images: ConversationImages | None = None) -> None:
        """`images` are those of the conversation that is rendered."""
        self._tokenizer, self._images = tokenizer, images
        self._tools = [_tool(each) for each in tools_of(row)] or None

    def plain(self, messages: Iterable[Message]) -> list[Message]:
        """Return messages as the template expects them."""
        return [plain(message, self._in_parts) for message in messages]

    @cached_property
    def _in_parts(self) -> bool:
        template = self._tokenizer.get_chat_template(tools=self._tools)
        return self._images is not None or reads_only_parts(self._tokenizer, template)

    def __call__(self, text: str, **options: Any) -> Any:
        encoded = self._tokenizer(text, **options)
        if self._images is not None:
            encoded["input_ids"] = self._images.numbered(encoded["input_ids"])
        return encoded

    def apply_chat_template(self, messages: list[Message], **options: Any) -> Any:
        text = self._tokenizer.apply_chat_template(messages, tools=self._tools, **options)
        return text if self._images is None else self._images.expanded(text, image_count(messages))


def refuse_missing_places(
    tokenizer: Any, row: dict[str, Any], kind: Kind, line: int, param: str | None, reads_images: bool
) -> None:
    """Raise JobError if the template has no place for a part of the row."""
    needs = needs_of(row, kind)
    if needs:
        served = {*needs_served(tokenizer.chat_template)} - {"images"} | (
            {"images"} if reads_images else set()
        )
        refusal = missing_needs(dict.fromkeys(needs, line), served, param)
        if refusal is not None:
            raise JobError(*refusal, param)


def plain(message: Message, in_parts: bool = False) -> Message:
    """Return a message as templates expect it.

    Its content is a text, or a list of parts. `developer` is `system`, keys without a value are left out, and
    the arguments of calls are objects: templates write them as JSON themselves.
    """
    kept = {key: value for key, value in message.items() if value not in ABSENT}
    kept["role"] = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    kept["content"] = template_parts(content) if in_parts else content_text(content)
    if "tool_calls" in kept:
        kept["tool_calls"] = [_call(call) for call in kept["tool_calls"]]
    return kept


@lru_cache(maxsize=4)
def reads_only_parts(tokenizer: Any, template: str) -> bool:
    """Return whether a template leaves out a content that is a text, and writes the parts of a list.

    So do some templates of models with images, such as SmolVLM's: they loop over every content.
    """
    text, parts = (_shows_mark(tokenizer, template, content) for content in (MARK, template_parts(MARK)))
    return parts and not text


def _shows_mark(tokenizer: Any, template: str, content: Any) -> bool:
    message = {"role": "user", "content": content}
    try:
        text: str = tokenizer.apply_chat_template([message], chat_template=template, tokenize=False)
    except REFUSALS:
        return False
    return MARK in text


def template_parts(content: Any) -> list[dict[str, str]]:
    """Return a content as the parts that templates of models with images expect."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return [{"type": "text", "text": part["text"]} if "text" in part else {"type": "image"} for part in parts]


def image_count(messages: Iterable[Message]) -> int:
    """Return how many images messages have, in the form that templates expect."""
    return sum(part["type"] == "image" for message in messages for part in message["content"] or ())


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["function"]["name"], "arguments": parsed_arguments(call)}
    return {"id": call["id"], "type": "function", "function": function}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool with its keys in the order of OpenAI's document: some templates write it as it is."""
    function = {key: tool["function"][key] for key in TOOL_KEYS if tool["function"].get(key) is not None}
    return {"type": "function", "function": function}
