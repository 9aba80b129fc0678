"""What is measured of a model's answers: their grades, their length, and whether they degenerate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from worker.trainer.reinforce.answers import GradedAnswer

NGRAM = 4
PERCENTS = (10, 50, 90)

Measured = dict[str, list[float | None]]
"""By the name of a measure, the mean over the answers to each prompt. None: no answer could be graded"""


def repetition(tokens: NDArray[np.int32]) -> float:
    """Return the share of an answer's 4-grams that repeat an earlier one; 0 for an answer without any.

    This is seq-rep-4, 1 - |unique 4-grams| / |4-grams| (Welleck et al. 2019, arXiv:1908.04319).
    """
    if len(tokens) < NGRAM:
        return 0.0
    ngrams = np.lib.stride_tricks.sliding_window_view(tokens, NGRAM)
    return 1 - len(np.unique(ngrams, axis=0)) / len(ngrams)


MEASURES: Mapping[str, Callable[[GradedAnswer], float | None]] = {
    "reward": lambda one: one.reward,
    "audit": lambda one: one.audit.known_score if one.audit else None,
    "completion_tokens": lambda one: len(one.answer.written),
    "truncated": lambda one: not one.answer.finished,
    "repetition": lambda one: repetition(one.answer.written),
}


def measured(graded: Sequence[GradedAnswer], count: int) -> Measured:
    """Return all measures of answers, of which there are `count` to each prompt, one prompt after another."""
    by_prompt = [graded[start : start + count] for start in range(0, len(graded), count)]
    return {name: [_mean(map(of, answers)) for answers in by_prompt] for name, of in MEASURES.items()}


def mean_of(measured: Measured, name: str) -> float:
    """Return the mean of a measure over the prompts that have it, or NaN if none has it."""
    found = _mean(measured[name])
    return nan if found is None else found


def quantiles_of(measured: Measured, name: str) -> dict[str, float]:
    """Return the tenth, the half and nine tenths of the prompts' means of a measure; {} if no prompt has it.

    The keys are `p10`, `p50` and `p90`.
    """
    known = [value for value in measured[name] if value is not None]
    if not known:
        return {}
    found = np.quantile(known, [percent / 100 for percent in PERCENTS])
    return {f"p{percent}": float(value) for percent, value in zip(PERCENTS, found, strict=True)}


def mean_entropy(graded: Sequence[GradedAnswer]) -> float:
    """Estimate the policy's entropy per token, in nats, as steps do: by −log p of the sampled tokens."""
    chosen = np.concatenate([one.answer.logprobs[~one.answer.forced] for one in graded])
    return -float(chosen.mean()) if len(chosen) else nan


def _mean(found: Iterable[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return fmean(known) if known else None
