"""Makes variants of a row. The messages of the assistant are taken over as they are."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from core.datasets.conversations import INPUT, conversations
from core.datasets.kinds import Kind
from core.datasets.preference_rules import pair
from core.datasets.preparation.requests import Augmentation
from worker.rendering.preparation.texts import CASES, LabelLists, with_typing_mistakes

Row = dict[str, Any]
Messages = list[dict[str, Any]]
SYSTEM_ROLES = ("system", "developer")


class Variants:
    """Makes the variants of a file's rows. A row's variants depend on the seed, its line and nothing else."""

    def __init__(self, asked: Augmentation, kind: Kind, seed: int) -> None:
        self._asked, self._kind, self._seed = asked, kind, seed
        self._labels = LabelLists(asked.label_order or [])

    def of(self, line: int, row: Row) -> Iterator[Row]:
        """Yield the variants of a row that differ from it and from each other."""
        seen = [row]
        for copy in range(self._asked.copies):
            draw = random.Random(f"{self._seed}/{line}/{copy}")  # noqa: S311 - no secret
            variant = _with_prompt(row, self._kind, partial(self._vary, draw=draw))
            if variant not in seen:
                seen.append(variant)
                yield variant

    def _vary(self, messages: Messages, draw: random.Random) -> Messages:
        asked = self._asked
        if asked.few_shot_order:
            messages = _in_another_order(messages, draw)
        if asked.system_prompts:
            messages = _with_system_prompt(messages, draw.choice(asked.system_prompts))
        return [self._varied(message, draw) for message in messages]

    def _varied(self, message: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        role = message["role"]
        if role != "user" and role not in SYSTEM_ROLES:
            return message
        content = message["content"]
        if isinstance(content, str):
            return {**message, "content": self._varied_text(content, role, draw)}
        parts = [
            {**part, "text": self._varied_text(part["text"], role, draw)} if "text" in part else part
            for part in content
        ]
        return {**message, "content": parts}

    def _varied_text(self, text: str, role: str, draw: random.Random) -> str:
        if self._asked.label_order:
            text = self._labels.backwards(text)
        if role != "user":
            return text
        case = draw.choice(CASES) if self._asked.user_case else str
        noise = self._asked.typing_noise
        return self._labels.outside(text, lambda part: case(with_typing_mistakes(part, noise, draw)))


def _with_prompt(row: Row, kind: Kind, vary: Callable[[Messages], Messages]) -> Row:
    """Return the row with other messages before its answers."""
    path, messages = next(conversations(row, kind), ("", []))
    if path == INPUT:
        return {**row, "input": {**row["input"], "messages": vary(messages)}}
    if path in ("messages", "prompt"):
        return {**row, path: vary(messages)}
    prompt, preferred, other = pair(row)
    asked = {"messages": vary(prompt), **{key: row[key] for key in ("tools",) if key in row}}
    return {"input": asked, "preferred_output": [preferred], "non_preferred_output": [other]}


def _in_another_order(messages: Messages, draw: random.Random) -> Messages:
    """Shuffle the turns between the system prompt and the last turn. A turn begins with a user's message."""
    begins = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if len(begins) < 3:
        return messages
    turns = [messages[begin:end] for begin, end in pairwise(begins)]
    draw.shuffle(turns)
    return [*messages[: begins[0]], *(message for turn in turns for message in turn), *messages[begins[-1] :]]


def _with_system_prompt(messages: Messages, text: str) -> Messages:
    first, *others = messages
    if first["role"] in SYSTEM_ROLES:
        return [{**first, "content": text}, *others]
    return [{"role": "system", "content": text}, *messages]
