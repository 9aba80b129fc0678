"""The texts of a checked row, whatever its kind, and the hashes by which rows are compared."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from core.datasets.chat_rules import content_text
from core.datasets.common_rules import unknown_keys
from core.datasets.conversations import conversations
from core.datasets.images import images_of
from core.datasets.kinds import CHAT_KEYS, Kind
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair
from core.datasets.tool_rules import tools_of

TEMPLATE_TOKENS = 5  # that a chat template adds to a message, about
Message = dict[str, Any]


class Text(NamedTuple):
    """The text of one message, and the path to it."""

    field: str
    role: str
    text: str


class Contents(NamedTuple):
    """A row as the check compares it.

    `exact` is equal for rows with equal texts, images, tools and weights; of prompts, the other keys are
    equal, too. Rows with an equal `subject` answer the same question, and contradict each other if their
    `verdict` differs. `images` is a hash of the images, and None without any. The hashes are Python's: they
    mean nothing in another process. A prompt has no `answer`. `prompt_bytes` and `bytes` measure the texts in
    UTF-8 before the answers, and in all.
    """

    texts: list[Text]
    exact: int
    subject: int
    verdict: int
    answer: str | None
    prompt_bytes: int
    bytes: int
    messages: int
    images: int | None = None


def contents_of(row: dict[str, Any], kind: Kind) -> Contents:
    """Return the contents of a row that `RowCheck` has no finding on."""
    found, tools = _texts_of(row, kind), tools_of(row)
    urls = tuple(url for _, url in images_of(row, kind))
    if not tools and not urls:
        return found
    beside = _ordered(tools), urls  # parts of the prompt
    return found._replace(
        exact=hash((found.exact, beside)),
        subject=hash((found.subject, beside)),
        images=hash(urls) if urls else None,
    )


def _ordered(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _texts_of(row: dict[str, Any], kind: Kind) -> Contents:
    """Return the contents of a row, whatever its tools are."""
    if kind == "chat":
        return _chat(row["messages"])
    if kind == "prompt":
        return _prompt(row)
    if kind == "labelled":
        prompt, answer, label = labelled(row)
        at, _ = next(conversations(row, kind))
        found = _chat([*prompt, answer], f"{at}[{{}}].content")
        if at == "prompt":
            found.texts[-1] = found.texts[-1]._replace(field="completion[0].content")
        exact = hash((found.exact, label))
        return found._replace(exact=exact, subject=found.exact, verdict=int(label), answer=str(label))
    return _pair(row)


def _chat(messages: list[Message], field: str = "messages[{}].content") -> Contents:
    texts = list(_texts(messages, field))
    said = [(role, text) for _, role, text in texts]
    weights = tuple(map(_weight, messages))
    exact, answer = hash((tuple(said), weights)), texts[-1].text
    sizes = [_size(text) for _, _, text in texts]
    has_prompt = len(said) > 1
    return Contents(
        texts=texts,
        exact=exact,
        subject=hash(tuple(said[:-1])) if has_prompt else exact,
        verdict=hash(answer),
        answer=answer,
        prompt_bytes=_before_first_answer(texts, sizes),
        bytes=sum(sizes),
        messages=len(texts),
    )


def _prompt(row: dict[str, Any]) -> Contents:
    """Return the contents of a prompt. What a grader reads beside it takes the place of an answer."""
    texts = list(_texts(row["messages"], "messages[{}].content"))
    beside = {key: row[key] for key in unknown_keys(row, CHAT_KEYS)}
    subject, verdict = hash(tuple((role, text) for _, role, text in texts)), hash(_ordered(beside))
    size = sum(_size(text) for _, _, text in texts)
    return Contents(texts, hash((subject, verdict)), subject, verdict, None, size, size, len(texts))


def _pair(row: dict[str, Any]) -> Contents:
    prompt, preferred, other = pair(row)
    answers = (_text_of(preferred), _text_of(other))
    prompt_field, *fields = _pair_fields(row)
    asked = list(_texts(prompt, prompt_field))
    texts = asked + [Text(field, "assistant", text) for field, text in zip(fields, answers, strict=True)]
    said = tuple((role, text) for _, role, text in texts)
    prompt_bytes = sum(_size(text) for _, _, text in asked)
    return Contents(
        texts=texts,
        exact=hash(said),
        subject=hash((said[:-2], frozenset(answers))),
        verdict=hash(answers[0]),
        answer=answers[0],
        prompt_bytes=prompt_bytes,
        bytes=prompt_bytes + max(map(_size, answers)),
        messages=len(asked) + 1,
    )


def _texts(messages: list[Message], field: str) -> Iterator[Text]:
    for index, message in enumerate(messages):
        yield Text(field.format(index), message["role"], _text_of(message))


def _text_of(message: Message) -> str:
    """Return what a message says: its reasoning, its text and its calls of tools."""
    text = content_text(message.get("content"))
    calls, reasoning = message.get("tool_calls"), message.get("reasoning_content")
    if not calls and not reasoning:
        return text
    functions = [call["function"] for call in calls or ()]
    said = [reasoning, text, *(f"{called['name']} {called['arguments']}" for called in functions)]
    return "\n".join(filter(None, said))


def _weight(message: Message) -> float:
    """Return how much a message is learnt. No weight means fully."""
    weight = message.get("weight")
    return 1.0 if weight is None else float(weight)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _before_first_answer(texts: list[Text], sizes: list[int]) -> int:
    first = next(index for index, text in enumerate(texts) if text.role == "assistant")
    return sum(sizes[:first])


def _pair_fields(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return the paths to the prompt's messages, the preferred answer and the other one."""
    if "input" in row:
        return "input.messages[{}].content", "preferred_output[0].content", "non_preferred_output[0].content"
    if "conversations" in row:
        return "conversations[{}].value", "chosen.value", "rejected.value"
    last = len(row["chosen"]) - 1
    prompt = "prompt[{}].content" if "prompt" in row else "chosen[{}].content"
    return prompt, f"chosen[{last}].content", f"rejected[{last}].content"
