"""Grammars that an answer must match, by llguidance: for each state, the tokens that may come next."""

import json
from functools import cached_property
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor

from worker.engine.sampler.requests import Grammar, RequestRefused

LONGEST_SOURCE = 64 * 1024  # characters
# About 20 ms to begin with, and some milliseconds for each token
LIMITS = LLParserLimits(
    max_grammar_size=50_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=20_000,
    verbose_errors=False,
)
# Bounded: a small model would otherwise go on with spaces until its last token
JSON_OPTIONS: Any = {"whitespace_flexible": True, "whitespace_pattern": r"[ \n\t]{0,16}"}


class GrammarFailed(Exception):
    """The grammar cannot be followed any more, in the middle of an answer."""


class Grammars:
    """Makes the states of grammars for one tokenizer. The first use takes a moment."""

    def __init__(self, tokenizer: Any, words: int, end_tokens: frozenset[int]) -> None:
        self._hf, self._words, self._ends = tokenizer, words, end_tokens

    def start(self, grammar: Grammar) -> "GrammarState":
        """Return the state before the first token. Raises RequestRefused for a grammar that is not usable."""
        if len(grammar.source) > LONGEST_SOURCE:
            raise RequestRefused(f"The grammar has more than {LONGEST_SOURCE} characters.", "grammar")
        if self._tokenizer is None:
            raise RequestRefused("This model's tokenizer does not support structured output.", "grammar")
        try:
            matcher = LLMatcher(self._tokenizer, _compiled(grammar), limits=LIMITS, log_level=0)
        except ValueError as error:
            raise _refused(str(error)) from error
        state = GrammarState(matcher, self._words)
        try:
            state.allowed_V()  # what is too complex often shows at the first token
        except GrammarFailed as error:
            raise _refused(str(error)) from error
        return state

    @cached_property
    def _tokenizer(self) -> LLTokenizer | None:
        ends = sorted(self._ends) or None
        try:
            return llguidance.hf.from_tokenizer(self._hf, n_vocab=self._words, eos_token=ends)
        except ValueError:
            return None

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of text that a token stands for."""
        if self._tokenizer is None or token >= len(self._hf):
            return str(self._hf.decode([token])).encode()
        return self._tokenizer.decode_bytes([token])


class GrammarState:
    """What may follow the tokens of one answer."""

    def __init__(self, matcher: LLMatcher, words: int) -> None:
        self._matcher, self._words = matcher, words

    def allowed_V(self) -> Tensor:  # noqa: N802 - axes
        """Return which tokens may come next, [V] of bool. Raises GrammarFailed."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._raise_if_failed()
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._words].view(bool))

    def advance(self, token: int) -> None:
        """Take the token that was chosen. Raises GrammarFailed."""
        self._matcher.consume_token(token)
        self._raise_if_failed()

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self._matcher.is_stopped())

    def _raise_if_failed(self) -> None:
        if self._matcher.is_error():
            raise GrammarFailed(_first_line(self._matcher.get_error()))


def _compiled(grammar: Grammar) -> str:
    """Return the grammar in llguidance's own form. Raises ValueError."""
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.source)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.source)
    schema = {"type": "object"} if grammar.kind == "json_object" else json.loads(grammar.source)
    return LLMatcher.grammar_from_json_schema(schema, overrides=JSON_OPTIONS)


def _refused(reason: str) -> RequestRefused:
    return RequestRefused(f"The grammar cannot be used: {_first_line(reason)}", "grammar")


def _first_line(reason: str) -> str:
    return next(iter(reason.strip().splitlines()), "it is not valid")
