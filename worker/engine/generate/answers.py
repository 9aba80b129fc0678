"""What the model answers to the prompts of some rows, in the middle of its training.

It computes by transformers' own modules and generation, with their cache; of each prompt the likeliest token
comes next. Nothing that training goes on from is touched: no random number is drawn, and no mode changed.
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
from worker.engine.step.passes import Abandoned
from worker.rows import Row

Tokens = Sequence[int]


@dataclass(frozen=True)
class Answer:
    """Texts without special tokens. `expected` is what the row holds, None where that is undesirable.

    `finished` says whether the model ended its answer; else that has as many tokens as it may.
    """

    line: int
    prompt: str
    expected: str | None
    answer: str
    finished: bool


def answers(
    base: ResidentBase,
    adapter: Adapter,
    rows: Sequence[Row],
    max_new_tokens: int,
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """To what stands before each row's last answer, of at most `max_new_tokens`.

    Several prompts of `max_tokens` together are computed at once, where the path allows for it. Raises
    Abandoned where `abandon` says so between two tokens.
    """
    adapter.parameters.refresh()
    at_once = max_tokens if adapter.decoder.path != "plain" else 0
    found = []
    with _attending_by(adapter.plain_model, base.own_attention), adapter.generating() as generate:
        for batch in _batches(rows, at_once):
            prompts = [row.tokens_L[: answer_of(row).start].tolist() for row in batch]
            made = _generate(base, generate, prompts, _ends(base, batch), max_new_tokens, abandon)
            found += [_answer(base, row, *each) for row, each in zip(batch, made, strict=True)]
    return found


def answer_of(row: Row) -> slice:
    """Where the last run of learnt tokens stands."""
    learnt = np.flatnonzero(row.learnt_L)
    breaks = np.flatnonzero(np.diff(learnt) > 1)
    start = learnt[breaks[-1] + 1] if len(breaks) else learnt[0]
    return slice(int(start), int(learnt[-1]) + 1)


def _answer(base: ResidentBase, row: Row, tokens: Tokens, finished: bool) -> Answer:
    def text(part: Tokens) -> str:
        return str(base.tokenizer.decode(part, skip_special_tokens=True)).strip()

    expected = answer_of(row)
    return Answer(
        row.line,
        text(row.tokens_L[: expected.start].tolist()),
        text(row.tokens_L[expected].tolist()) if row.desirable else None,
        text(tokens),
        finished,
    )


def _batches(rows: Sequence[Row], max_tokens: int) -> Iterator[list[Row]]:
    """In their order, with as many as fit when all are filled up to the longest prompt; at least one."""
    batch: list[Row] = []
    for row in rows:
        longest = max(answer_of(each).start for each in [*batch, row])
        if batch and (len(batch) + 1) * longest > max_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _ends(base: ResidentBase, rows: Sequence[Row]) -> list[int]:
    """What ends an answer: by the model's word, the tokenizer's, and the rows' own, where that is special."""
    config: Any = base.model.generation_config
    named = config.eos_token_id if config else None
    ends = {*(named if isinstance(named, list) else [named]), base.tokenizer.eos_token_id} - {None}
    learnt = {int(row.tokens_L[answer_of(row).stop - 1]) for row in rows}
    return sorted(ends | learnt & set(base.tokenizer.all_special_ids))


def _generate(
    base: ResidentBase,
    generate: Generate,
    prompts: Sequence[Tokens],
    ends: list[int],
    max_new_tokens: int,
    abandon: Callable[[], bool],
) -> Iterator[tuple[list[int], bool]]:
    """Each answer's tokens, and whether the model has ended it. Prompts are filled up at their beginning."""
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
    _ask(abandon)
    made = generate(
        input_ids=torch.tensor(inputs, device=base.device),
        attention_mask=torch.tensor(seen, device=base.device),
        generation_config=config,
        stopping_criteria=[_Asking(abandon)],
    )
    for tokens in made[:, longest:].tolist():
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        yield tokens[:end], end is not None


class _Asking(StoppingCriteria):
    """Ends nothing, but asks after each token."""

    def __init__(self, abandon: Callable[[], bool]) -> None:
        self._abandon = abandon

    def __call__(self, input_ids: Tensor, _scores: Any, **_: Any) -> Any:
        _ask(self._abandon)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _ask(abandon: Callable[[], bool]) -> None:
    if abandon():
        raise Abandoned


@contextmanager
def _attending_by(model: Any, name: str) -> Iterator[None]:
    """transformers' own attention inside, for models that have ours: that knows of no cache."""
    ours = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(ours)
