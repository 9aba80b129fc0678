"""Greedy answers with the log-probabilities of the likeliest tokens, and how two sets of them compare."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from core.portability.report import Figures

NEW_TOKENS = 16
TOP = 20  # tokens whose log-probabilities a runtime gives
COMPARED = 5  # of ours, at the prompt's end
NEAR = 0.05  # nats: two tokens that are as close may change places by rounding
ENOUGH = 0.95  # of the prompts must have equal answers: 19 of 20


@dataclass(frozen=True)
class Answer:
    """The tokens of a greedy answer, without the token that ends it.

    `tops` has the likeliest tokens at each position, with their log-probabilities in nats. A runtime may
    leave out the position of the end, and give none at others.
    """

    tokens: list[int]
    tops: list[dict[int, float]]

    @classmethod
    def cut(cls, tokens: Sequence[int], tops: Sequence[dict[int, float]], ends: Collection[int]) -> "Answer":
        """Return the answer up to the first token that ends it."""
        length = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
        return cls(list(tokens[:length]), list(tops[: length + 1]))

    @classmethod
    def read(cls, stored: dict[str, Any], ends: Collection[int]) -> "Answer":
        """Return an answer that another process has written as JSON."""
        tops = [{int(token): logprob for token, logprob in top.items()} for top in stored["tops"]]
        return cls.cut(stored["tokens"], tops, ends)


@dataclass(frozen=True)
class Answered:
    """What a runtime makes of the prompts: the answers, and the chats as it renders them, if it can."""

    answers: list[Answer]
    chats: list[list[int]] | None


def compare(ours: Answered, found: Answered) -> Figures:
    """Return how the runtime's answers differ from ours."""
    pairs = list(zip(ours.answers, found.answers, strict=True))
    differing = [_at_first_difference(*pair) for pair in pairs if pair[0].tokens != pair[1].tokens]
    known = [difference for difference in differing if difference is not None]
    return Figures(
        prompts=len(pairs),
        greedy_equal=len(pairs) - len(differing),
        max_logprob_difference=max(
            (_at_the_prompts_end(*pair) for pair in pairs if pair[1].tops and pair[1].tops[0]), default=None
        ),
        first_difference=max(known) if known and len(known) == len(differing) else None,
        template_tokens_equal=None if ours.chats is None else found.chats == ours.chats,
    )


def difference(figures: Figures) -> str | None:
    """Return in which way the answers differ; None if the runtime answers alike."""
    if figures.template_tokens_equal is False:
        return "It renders chats to other tokens than the training did."
    equal, of = figures.greedy_equal, figures.prompts
    if equal >= ENOUGH * of:
        return None
    close = figures.first_difference
    if close is not None and close <= NEAR:
        return None
    return f"{equal} of {of} greedy answers are equal."


def _at_the_prompts_end(ours: Answer, found: Answer) -> float:
    """Return the largest difference of our likeliest tokens.

    A token that the runtime does not list is less likely than all that it lists.
    """
    mine, theirs = ours.tops[0], found.tops[0]
    likeliest = sorted(mine, key=mine.__getitem__, reverse=True)[:COMPARED]
    least = min(theirs.values())
    return max(abs(mine[token] - theirs.get(token, least)) for token in likeliest)


def _at_first_difference(ours: Answer, found: Answer) -> float | None:
    """Return the largest difference of both answers' tokens at the first place where they differ."""
    together = zip(ours.tokens, found.tokens, strict=False)
    shorter = min(len(ours.tokens), len(found.tokens))
    at = next((position for position, (mine, theirs) in enumerate(together) if mine != theirs), shorter)
    if at >= len(ours.tops) or at >= len(found.tops) or not found.tops[at]:
        return None
    mine, theirs = ours.tops[at], found.tops[at]
    chosen = {max(mine, key=mine.__getitem__), max(theirs, key=theirs.__getitem__)}
    if not chosen <= mine.keys() & theirs.keys():
        return None
    return max(abs(mine[token] - theirs[token]) for token in chosen)
