"""The prompts of a measurement: rows of the job's validation file, filled up from a general list."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from core.datasets.chat_rules import content_text
from core.datasets.common_rules import PLAIN_ROLES
from core.datasets.images import image_parts
from core.datasets.kinds import kind_of
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair
from core.storage.object_store import ObjectStore
from core.tables import File

COUNT = 20
LONGEST = 512  # tokens: a longer prompt costs much and shows no more
MOST_BYTES = 8 * 1024**2  # of the file, from its beginning

Messages = list[dict[str, str]]

GENERAL = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three prime numbers.",
    "Translate 'good morning' into Spanish.",
    "Explain in one sentence why the sky is blue.",
    "What is 17 + 25?",
    "Name two animals that can fly.",
    "Write a SQL query that counts the rows of the table users.",
    'Return a JSON object with the keys "city" and "country" for Berlin.',
    "Summarise: The train was late because a tree had fallen onto the track.",
    "Is the sentence 'I loved this film' positive or negative?",
    "Give a synonym for 'fast'.",
    "Correct the spelling: 'recieve the pakage'.",
    "Who wrote the play Romeo and Juliet?",
    "Convert 3 kilometres into metres.",
    "Write a Python function that returns the square of a number.",
    "What comes after Monday?",
    "Name the largest planet of the solar system.",
    "Was kostet 1 kg Äpfel im Jahr 2024?",
    "Reply with one emoji that shows a smile.",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class PromptSet:
    """Prompts as tokens, and as chats if the model has a template for them.

    The first `of_rows` are rows of the validation file.
    """

    tokens: list[list[int]]
    chats: list[Messages] | None
    of_rows: int = 0


def prompts_for(tokenizer: Any, max_length: int, rows: list[Messages]) -> PromptSet:
    """Return the first rows that are short enough, and general prompts until there are COUNT.

    A model without a template, or with one that refuses them all, gets the general prompts as plain texts.
    """
    longest = min(LONGEST, max_length // 2)
    if tokenizer.chat_template:
        of_rows = list(islice(_fitting(tokenizer, rows, longest), COUNT))
        general = _fitting(tokenizer, map(_asked, GENERAL), max_length)
        if found := [*of_rows, *islice(general, COUNT - len(of_rows))]:
            chats, tokens = zip(*found, strict=True)
            return PromptSet(list(tokens), list(chats), len(of_rows))
    return PromptSet([tokenizer(text)["input_ids"][:longest] for text in GENERAL], None)


def _fitting(tokenizer: Any, chats: Iterable[Messages], longest: int) -> Iterator[tuple[Messages, list[int]]]:
    """Yield the chats of at most `longest` tokens, each with its tokens."""
    for chat in chats:
        tokens = render(tokenizer, chat)
        if 0 < len(tokens) <= longest:
            yield chat, tokens


def render(tokenizer: Any, chat: Messages) -> list[int]:
    """Return the tokens of a chat that waits for an answer. A chat that the template refuses has none."""
    try:
        return list(
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        )
    except Exception as error:  # a template is a program of the model's author, which may fail in any way
        log.info("prompt_not_rendered", reason=str(error))
        return []


def rows_of(store: ObjectStore, file: File | None) -> list[Messages]:
    """Return the conversations before the answers of a file's first rows. A file that is gone has none."""
    if file is None or file.deleted_at is not None:
        return []
    found: list[Messages] = []
    try:
        for line in _first_lines(store, file.object_key):
            chat = _prompt_of(json.loads(line))
            if chat:
                found.append(chat)
            if len(found) == 2 * COUNT:  # some may be too long
                break
    except FileNotFoundError:
        return []
    return found


def _first_lines(store: ObjectStore, key: str) -> Iterator[bytes]:
    """Yield the whole lines in the file's first MOST_BYTES."""
    seen, rest = 0, b""
    for chunk in store.read(key):
        seen += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if seen >= MOST_BYTES:
            return
    if rest.strip():
        yield rest


def _prompt_of(row: dict[str, Any]) -> Messages | None:
    """Return the messages before the row's answer; None if they are more than texts of the usual roles."""
    kind = kind_of(row)
    if kind == "preference":
        messages = list(pair(row)[0])
    elif kind == "labelled":
        messages = list(labelled(row)[0])
    elif kind == "prompt":
        messages = row["messages"]
    else:
        messages = row.get("messages", [])
        last = max((at for at, each in enumerate(messages) if each["role"] == "assistant"), default=0)
        messages = messages[:last]
    if row.get("tools") or any(
        each["role"] not in PLAIN_ROLES or not each.get("content") or any(image_parts(each))
        for each in messages
    ):
        return None
    return [{"role": _role(each["role"]), "content": content_text(each["content"])} for each in messages]


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _asked(text: str) -> Messages:
    return [{"role": "user", "content": text}]
