"""The sampler: it answers many requests at once on one resident base model, each with its own adapter."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worker.engine.base.base_model import ResidentBase
from worker.engine.device.health import is_out_of_memory
from worker.engine.sampler.adapters.files import load_adapter
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.chooser import Chooser, token_choices
from worker.engine.sampler.draft import Drafted
from worker.engine.sampler.fast.computation import FastComputation
from worker.engine.sampler.grammars import GrammarFailed, Grammars
from worker.engine.sampler.isolation import Failed, each, together
from worker.engine.sampler.requests import GenerationRequest, Piece
from worker.engine.sampler.running import Chunk, Computed, Running
from worker.engine.sampler.slow import SlowComputation
from worker.engine.sampler.texts import GrowingText
from worker.engine.sampler.validation import check_request
from worker.rows.image_store import FIRST_IMAGE_TOKEN, with_placeholders

NOT_FINITE = "The model computed numbers that are not finite. Its adapter is damaged."
TOO_LITTLE_MEMORY = (
    "There is too little memory for this request. Send a shorter prompt, or ask for no log-probabilities."
)
BROKEN = "The computation of this request failed. The log of the process that computed it says why."


@dataclass(frozen=True)
class Limits:
    """What bounds the sampler's memory, and the time that one step takes.

    `cache_bytes` is the size of the pool of keys, values and states. A step computes at most `step_tokens`
    tokens of prompts beside the tokens that are generated, and at most `max_running` requests; others wait.
    On the slow path at most `max_running_slowly` requests have a cache. Projects have equal shares of all
    this. With `drafts`, a step also computes tokens that may follow, if that makes it worth more. They take
    what prompts leave of `step_tokens`.
    """

    cache_bytes: int = 1 << 30
    step_tokens: int = 128
    max_running: int = 64
    max_running_slowly: int = 4
    drafts: bool = True


@dataclass(frozen=True)
class Load:
    """How busy the sampler is: requests that are computed, that wait, and the share of the pool in use."""

    running: int
    waiting: int
    pool_share: float


class Sampler:
    """Continuous batching on one base model. One thread calls every method.

    Each `step` computes the next chunks of requests: a token of those that generate, perhaps with a draft of
    the next ones, and a part of the prompt of others. Requests join and leave between steps.
    """

    def __init__(
        self,
        base: ResidentBase,
        limits: Limits | None = None,
        undisturbed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`undisturbed` is the context for work that changes torch's global state, as PEFT does."""
        self._base, limits, self._undisturbed = base, limits or Limits(), undisturbed
        self.end_tokens = end_tokens(base)
        self._words = base.model.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
        self._grammars = Grammars(base.tokenizer, self._words, self.end_tokens)
        self._requests: dict[str, Running] = {}
        self._fast: FastComputation | None = None
        if limits.cache_bytes and FastComputation.takes(base):
            self._fast = FastComputation(
                base, limits.cache_bytes, limits.step_tokens, limits.max_running, limits.drafts
            )
        self._slow = SlowComputation(base, limits.max_running_slowly, limits.step_tokens)

    @property
    def why_slow(self) -> str | None:
        """Why this base model is computed request by request through transformers; None on the fast path."""
        return None if self._fast else f"{self._base.entry.id} has no fast path: {self._base.why_not_faster}"

    def load_adapter(self, folder: Path, content_hash: str) -> ServedAdapter:
        """Load an adapter from PEFT's two files; the loader of an `AdapterCache` calls it, in any thread.

        Raises AdapterRefused if the files are damaged, hold numbers that are not finite, or do not fit the
        base model.
        """
        adapter = load_adapter(self._base, folder, content_hash, self._undisturbed)
        if self._fast and adapter.why_slow is None:
            self._fast.prepare(adapter)
        return adapter

    def submit(self, request: GenerationRequest) -> None:
        """Take a request; its pieces come from the following steps.

        Raises RequestRefused if the prompt is too long or empty, or if a field or the grammar is wrong.
        """
        assert request.id not in self._requests, "the id of a request is unique"
        sampling = request.sampling
        computation = self._computation(request.adapter)
        room = self._fast.most_tokens if computation is self._fast and self._fast else None
        longest = check_request(request, self._words, self.max_length, room)
        grammar = self._grammars.start(request.grammar) if request.grammar else None
        chooser = Chooser(sampling, request.prompt, self.end_tokens, grammar)
        text = GrowingText(self._base.tokenizer, sampling.stop)
        one = Running(request, longest, chooser, text, list(request.prompt))
        self._requests[request.id] = one
        computation.add(one)

    def cancel(self, request_id: str) -> None:
        """Forget a request and free what it holds. Nothing more comes for it. An unknown id is ignored."""
        if (one := self._requests.pop(request_id, None)) is not None:
            self._computation(one.request.adapter).remove(one)

    def step(self) -> list[Piece]:
        """Compute one step, and return the tokens that it has added: a piece for each, in their order.

        A request that cannot be computed ends with an error, and no other one with it. Raises the error of a
        device that is broken.
        """
        computed = [*(self._fast.step() if self._fast else ()), *self._slow.step()]
        ready = [
            one
            for one in each(_with_prompt_logprobs, computed)
            if isinstance(one, Failed) or one.chunk.is_last
        ]
        pieces = [
            piece
            for found in each(self._pieces, together(_with_likeliest, ready))
            for piece in ([_broken(found)] if isinstance(found, Failed) else found)
        ]
        for piece in pieces:
            if piece.finish_reason is not None:
                self.cancel(piece.request_id)
        return pieces

    @property
    def idle(self) -> bool:
        """Whether a step would compute nothing."""
        return not self._requests

    @property
    def load(self) -> Load:
        running, waiting, share = self._slow.running, self._slow.waiting, 0.0
        if self._fast:
            running, waiting = running + self._fast.running, waiting + self._fast.waiting
            share = self._fast.pool_share
        return Load(running, waiting, share)

    @property
    def max_length(self) -> int:
        """The most tokens of a prompt and its answer together."""
        return self._base.entry.max_length

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of text that a token stands for; a special token's name in UTF-8."""
        return self._grammars.token_bytes(token)

    def _computation(self, adapter: ServedAdapter | None) -> FastComputation | SlowComputation:
        """Return what computes requests for this adapter."""
        if self._fast is None or (adapter is not None and adapter.why_slow is not None):
            return self._slow
        return self._fast

    def _pieces(self, ready: "_Ready") -> list[Piece]:
        """Choose the next tokens of a request, as long as its draft has the tokens that are chosen.

        Each is chosen as if there were no draft: its logits follow from the tokens that were chosen before.
        """
        one, draft = ready.chunk.running, ready.chunk.draft
        pieces: list[Piece] = []
        for row, drafted in zip(ready.rows, [*draft.tokens, None], strict=True):
            pieces.append(self._piece(one, row))
            if pieces[-1].finish_reason is not None or pieces[-1].token != drafted:
                break
        if not draft:
            return pieces
        accepted = sum(piece.token == token for piece, token in zip(pieces, draft.tokens, strict=False))
        if accepted and self._fast:
            self._fast.accept(one, accepted)
        pieces[-1] = replace(pieces[-1], drafted=Drafted(accepted, len(draft) - accepted, draft.is_predicted))
        return pieces

    def _piece(self, one: Running, row: "_Row") -> Piece:
        """Choose the next token of a request, and return the piece with it."""
        logits_V = row.logits_V
        if not math.isfinite(row.highest):
            return _failed(one, NOT_FINITE)
        try:
            token = row.likeliest if one.chooser.takes_likeliest else one.chooser.choose(logits_V)
            one.chooser.advance(token)
        except GrammarFailed as error:
            return _failed(one, f"The grammar cannot be followed: {error}")
        sampling = one.request.sampling
        one.append(token)
        text, reason, stopped_by = self._ending(one, token)
        first = one.made == 1
        return Piece(
            one.request.id,
            token,
            text,
            token_choices(logits_V[None], [token], sampling.top_logprobs)[0] if sampling.logprobs else None,
            reason,
            stopped_by,
            one.cached if first else 0,
            tuple(one.prompt_choices) if first and sampling.prompt_logprobs is not None else None,
            is_forced=one.chooser.was_forced,
        )

    def _ending(self, one: Running, token: int) -> tuple[str, Any, str | int | None]:
        """Return the text that the token makes certain, why the answer ends, and the stop that ended it."""
        sampling = one.request.sampling
        may_stop = one.made > sampling.min_tokens
        if may_stop and token in sampling.stop_tokens:
            return one.text.rest(), "stop", token
        ends = not sampling.ignore_eos or one.chooser.grammar is not None  # nothing follows a whole structure
        if may_stop and token in self.end_tokens and ends:
            return one.text.rest(), "stop", None
        text, stop = one.text.add(token, may_stop)
        if stop is not None:
            return text, "stop", stop
        if one.chooser.grammar is not None and one.chooser.grammar.complete:
            return text + one.text.rest(), "stop", None
        if len(one.tokens) >= one.longest:
            return text + one.text.rest(), "length", None
        return text, None, None


def end_tokens(base: ResidentBase) -> frozenset[int]:
    """Return the tokens that end an answer, by the model's generation settings and its tokenizer."""
    config: Any = base.model.generation_config
    named = config.eos_token_id if config else None
    ends = {*(named if isinstance(named, Sequence) else [named]), base.tokenizer.eos_token_id}
    return frozenset(ends - {None})


def _with_prompt_logprobs(computed: Computed) -> Computed:
    """Keep the log-probabilities of the prompt's tokens that follow those of the chunk.

    A token that stands for a part of an image has none.
    """
    one, top = computed.running, computed.running.request.sampling.prompt_logprobs
    if top is None or not one.wants_prompt_logprobs:
        return computed
    if not one.prompt_choices:
        one.prompt_choices.append(None)
    known, chunk = len(one.prompt_choices), computed.chunk
    tokens = one.request.prompt[known : chunk.stop + 1]
    if tokens:
        rows = computed.logits_SV[known - 1 - chunk.start :][: len(tokens)]
        choices = token_choices(rows, with_placeholders(tokens, 0), top)
        one.prompt_choices += [
            choice if token < FIRST_IMAGE_TOKEN else None
            for token, choice in zip(tokens, choices, strict=True)
        ]
    return computed


@dataclass(frozen=True)
class _Row:
    """The logits of a token, the highest of them, and the token that has it."""

    logits_V: Tensor
    highest: float
    likeliest: int


@dataclass(frozen=True)
class _Ready:
    """A chunk with the rows of the tokens that may be chosen: the next one, and one behind each drafted."""

    chunk: Chunk
    rows: Sequence[_Row]

    @property
    def running(self) -> Running:
        return self.chunk.running


def _with_likeliest(computed: Sequence[Computed]) -> list[_Ready]:
    counts = [1 + len(one.chunk.draft) for one in computed]
    logits_BV = torch.cat([one.logits_SV[-count:] for one, count in zip(computed, counts, strict=True)])
    rows = map(_Row, logits_BV, *(x.tolist() for x in logits_BV.max(-1)))
    return [_Ready(one.chunk, [*islice(rows, count)]) for one, count in zip(computed, counts, strict=True)]


def _broken(failed: Failed) -> Piece:
    message = TOO_LITTLE_MEMORY if is_out_of_memory(failed.error) else BROKEN
    return Piece(failed.running.request.id, None, "", finish_reason="error", error=message)


def _failed(one: Running, message: str) -> Piece:
    return Piece(one.request.id, None, one.text.rest(), finish_reason="error", error=message)
