"""The client that does nothing but chat: one short question after the other, each timed."""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from bench.fairness.tenants import Tenant
from bench.web.http_load import percentile

TOKENS = 16  # of an answer
PAUSE_SECONDS = 0.3  # between two chats
STEP_WORDS = 60  # of a prompt of about 128 tokens, which one step computes

_numbers = count()


@dataclass
class Waits:
    """The seconds of each chat: up to the first token of its answer, and up to its end.

    `refused` counts the chats that got no answer, by the reason that was given.
    """

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"chats": len(self.whole), "refused": dict(self.refused)}
        for name, seconds in (("first", self.first), ("whole", self.whole)):
            for share in (50, 99) if seconds else ():
                figures[f"{name}_p{share}"] = percentile(seconds, share / 100)
        return figures


def chats(tenant: Tenant, number: int, question: str = "How are you today?") -> Waits:
    """Send `number` chats, one after the other, and return how long each took."""
    waits = Waits()
    for _ in range(number):
        time.sleep(PAUSE_SECONDS)
        try:
            first, whole = _chat(tenant, f"{next(_numbers)}. {question}")
        except httpx.HTTPError as error:
            waits.refused[str(error) or type(error).__name__] += 1
            continue
        waits.first.append(first)
        waits.whole.append(whole)
    return waits


def _chat(tenant: Tenant, question: str) -> tuple[float, float]:
    """Return the seconds to the first token and to the end. Raises httpx.HTTPError."""
    asked = {
        "model": tenant.model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    began, first = time.perf_counter(), 0.0
    with tenant.http.stream("POST", "/chat/completions", json=asked) as answer:
        if not answer.is_success:
            raise httpx.HTTPError(answer.read().decode())
        for line in answer.iter_lines():
            if '"error"' in line:
                raise httpx.HTTPError(line)
            if not first and line.startswith("data: "):
                first = time.perf_counter() - began
    return first, time.perf_counter() - began
