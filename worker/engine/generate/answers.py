"""Answers of a model, in the middle of its training, to the prompts of some rows.

On the fast path the sampler computes them, with the present factors from memory. On other paths
transformers' own modules and generation do, with their cache. The likeliest token always comes next. Training
goes on as if nothing had happened: no random number is drawn, and no mode is changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria

from worker.engine.adapters.adapter import Adapter, Generate
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.decoder import Decoder
from worker.engine.generate.adapters import ServedAdapter, factors_in_training
from worker.engine.generate.block_pool import BLOCK
from worker.engine.generate.ragged import RaggedDecoder
from worker.engine.generate.requests import GenerationRequest, Sampling
from worker.engine.generate.sampler import Limits, Sampler
from worker.engine.step.passes import Abandoned
from worker.rows import Row

Tokens = Sequence[int]


@dataclass(frozen=True)
class Answer:
    """The answer to the prompt of one row. The texts have no special tokens.

    `expected` is the row's own answer, None if that is undesirable. `finished` is false if the model was cut
    off at the most tokens that an answer may have.
    """

    line: int
    prompt: str
    expected: str | None
    answer: str
    finished: bool


def generate_answers(
    base: ResidentBase,
    adapter: Adapter,
    rows: Sequence[Row],
    max_new_tokens: int,
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Answer the prompt before each row's last answer, with at most `max_new_tokens`.

    If the path allows it, several prompts are computed at once, with at most `max_tokens` together. Raises
    Abandoned if `abandon` returns true between two tokens.
    """
    adapter.parameters.refresh()
    if isinstance(adapter.decoder, Decoder):
        made = _sample(base, adapter.decoder, adapter, rows, max_new_tokens, max_tokens, abandon)
        return [_answer(base, row, *each) for row, each in zip(rows, made, strict=True)]
    at_once = max_tokens if adapter.decoder.path != "plain" else 0
    found = []
    with _attention_set_to(adapter.plain_model, base.own_attention), adapter.generating() as generate:
        for batch in _batches(rows, at_once):
            prompts = [row.tokens_L[: answer_span(row).start].tolist() for row in batch]
            generated = _generate(base, generate, prompts, _end_tokens(base, batch), max_new_tokens, abandon)
            found += [_answer(base, row, *each) for row, each in zip(batch, generated, strict=True)]
    return found


def answer_span(row: Row) -> slice:
    """Return the place of the last answer: the last run of learnt tokens."""
    learnt = np.flatnonzero(row.learnt_L)
    breaks = np.flatnonzero(np.diff(learnt) > 1)
    start = learnt[breaks[-1] + 1] if len(breaks) else learnt[0]
    return slice(int(start), int(learnt[-1]) + 1)


def _answer(base: ResidentBase, row: Row, tokens: Tokens, finished: bool) -> Answer:
    def text(part: Tokens) -> str:
        return str(base.tokenizer.decode(part, skip_special_tokens=True)).strip()

    expected = answer_span(row)
    return Answer(
        row.line,
        text(row.tokens_L[: expected.start].tolist()),
        text(row.tokens_L[expected].tolist()) if row.desirable else None,
        text(tokens),
        finished,
    )


def _batches(rows: Sequence[Row], max_tokens: int) -> Iterator[list[Row]]:
    """Yield as many rows at once, in order, as fit when padded to the longest prompt; at least one."""
    batch: list[Row] = []
    for row in rows:
        longest = max(answer_span(each).start for each in [*batch, row])
        if batch and (len(batch) + 1) * longest > max_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _end_tokens(base: ResidentBase, rows: Sequence[Row]) -> list[int]:
    """Return the tokens that end an answer.

    They come from the model's generation settings, from the tokenizer, and from the ends of the rows' own
    answers if these are special tokens.
    """
    config: Any = base.model.generation_config
    named = config.eos_token_id if config else None
    ends = {*(named if isinstance(named, list) else [named]), base.tokenizer.eos_token_id} - {None}
    learnt = {int(row.tokens_L[answer_span(row).stop - 1]) for row in rows}
    return sorted(ends | learnt & set(base.tokenizer.all_special_ids))


def _sample(
    base: ResidentBase,
    decoder: Decoder,
    adapter: Adapter,
    rows: Sequence[Row],
    max_new_tokens: int,
    max_tokens: int,
    abandon: Callable[[], bool],
) -> list[tuple[list[int], bool]]:
    """Return each answer's tokens, and whether the model has ended it, by a sampler of the adapter's own."""
    outputs = {name: group.weight_NK.shape[0] for name, group in decoder.groups.items()}
    factors = factors_in_training(adapter.low_ranks(), outputs, base.dtype)
    prompts = [row.tokens_L[: answer_span(row).start].tolist() for row in rows]
    room = max(max_tokens, max(map(len, prompts)) + max_new_tokens)
    blocks = -(-room // BLOCK)
    sampler = Sampler(base, Limits(cache_bytes=blocks * RaggedDecoder.block_bytes(decoder)))
    served = ServedAdapter(adapter.name, nbytes=0, factors=factors)
    sampling = Sampling(max_new_tokens, temperature=0, stop_tokens=frozenset(_end_tokens(base, rows)))
    for number, prompt in enumerate(prompts):
        sampler.submit(GenerationRequest(str(number), prompt, sampling, served))
    answers: list[tuple[list[int], bool]] = [([], False) for _ in rows]
    while not sampler.idle:
        _raise_if(abandon)
        for piece in sampler.step():
            number = int(piece.request_id)
            tokens, ended = answers[number][0], piece.finish_reason == "stop"
            answers[number] = (tokens if ended or piece.token is None else [*tokens, piece.token]), ended
    return answers


def _generate(
    base: ResidentBase,
    generate: Generate,
    prompts: Sequence[Tokens],
    ends: list[int],
    max_new_tokens: int,
    abandon: Callable[[], bool],
) -> Iterator[tuple[list[int], bool]]:
    """Yield each answer's tokens, and whether the model has ended it. Prompts are padded on the left."""
    longest = max(map(len, prompts))
    missing = [longest - len(prompt) for prompt in prompts]
    inputs = [[0] * gap + [*prompt] for gap, prompt in zip(missing, prompts, strict=True)]
    seen = [[0] * gap + [1] * (longest - gap) for gap in missing]
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=min(max_new_tokens, base.entry.max_length - longest),
        eos_token_id=ends,
        pad_token_id=ends[0] if ends else 0,
    )
    _raise_if(abandon)
    made = generate(
        input_ids=torch.tensor(inputs, device=base.device),
        attention_mask=torch.tensor(seen, device=base.device),
        generation_config=config,
        stopping_criteria=[_AbandonCheck(abandon)],
    )
    for tokens in made[:, longest:].tolist():
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        yield tokens[:end], end is not None


class _AbandonCheck(StoppingCriteria):
    """A criterion that stops no answer, but raises Abandoned if `abandon` returns true after a token."""

    def __init__(self, abandon: Callable[[], bool]) -> None:
        self._abandon = abandon

    def __call__(self, input_ids: Tensor, _scores: Any, **_: Any) -> Any:
        _raise_if(self._abandon)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _raise_if(abandon: Callable[[], bool]) -> None:
    if abandon():
        raise Abandoned


@contextmanager
def _attention_set_to(model: Any, name: str) -> Iterator[None]:
    """Set the model's attention inside: transformers' own, because the engine's attention has no cache."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
