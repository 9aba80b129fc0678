"""Chooses the next token of one answer from its logits.

The order is that of vLLM: penalties, bias, what may not come, temperature, min_p, top_k, top_p. The draw
follows from the seed and the token's number in the answer. So it does not matter what is computed beside.
"""

import math
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from worker.engine.kernels.loss import log_totals
from worker.engine.sampler.grammars import GrammarFailed, GrammarState
from worker.engine.sampler.requests import Sampling, TokenChoice
from worker.rows.image_store import words_among

LEAST_TEMPERATURE = 1e-5  # vLLM's: below it, logits divided by the temperature may be infinite
FIRST_CANDIDATES = 256  # enough for the top_p of most tokens; sorting all words takes milliseconds


class Chooser:
    """The sampling of one answer, and what it remembers of the answer's tokens."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        end_tokens: frozenset[int],
        grammar: GrammarState | None,
    ) -> None:
        self._sampling, self._end_tokens, self.grammar = sampling, end_tokens, grammar
        self._in_prompt = set(words_among(prompt)) if sampling.repetition_penalty != 1 else set()
        self._counts: Counter[int] = Counter()
        self._made = 0
        self.was_forced = False
        """Whether the grammar admitted no other token than the one that was chosen last."""
        self._changes_logits = (
            sampling.presence_penalty != 0
            or sampling.frequency_penalty != 0
            or sampling.repetition_penalty != 1
            or bool(sampling.logit_bias)
            or grammar is not None
        )

    @property
    def takes_likeliest(self) -> bool:
        """Whether the next token is the likeliest, by the logits as they are."""
        return self._is_greedy and not self._changes_logits and not self._forbids_end

    @property
    def _is_greedy(self) -> bool:
        return self._sampling.temperature < LEAST_TEMPERATURE

    @property
    def _forbids_end(self) -> bool:
        return self._made < self._sampling.min_tokens

    def choose(self, logits_V: Tensor) -> int:
        """Return the next token by logits in fp32. Raises GrammarFailed."""
        if self._changes_logits or self._forbids_end:
            logits_V = self._changed(logits_V.clone())
            if logits_V.max() == -math.inf:
                raise GrammarFailed("no token may come next")
        if self._is_greedy:
            return int(logits_V.argmax())
        return draw(logits_V, self._sampling, uniform(self._sampling.seed, self._made))

    def advance(self, token: int) -> None:
        """Remember the chosen token. Raises GrammarFailed."""
        self._made += 1
        self._counts[token] += 1
        if self.grammar is not None and token not in self._end_tokens:
            self.grammar.advance(token)

    def _changed(self, logits_V: Tensor) -> Tensor:
        sampling = self._sampling
        if sampling.repetition_penalty != 1 and (seen := [*(self._in_prompt | self._counts.keys())]):
            index = torch.tensor(seen, device=logits_V.device)
            x, penalty = logits_V[index], sampling.repetition_penalty
            logits_V[index] = torch.where(x > 0, x / penalty, x * penalty)
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            index = torch.tensor([*self._counts], device=logits_V.device)
            counts = torch.tensor([*self._counts.values()], device=logits_V.device)
            logits_V[index] -= sampling.frequency_penalty * counts + sampling.presence_penalty
        for token, bias in sampling.logit_bias.items():
            logits_V[token] += bias
        if self._forbids_end:
            logits_V[[*(self._end_tokens | sampling.stop_tokens)]] = -math.inf
        if self.grammar is not None:
            allowed_V = self.grammar.allowed_V()
            self.was_forced = int(allowed_V.sum()) == 1
            logits_V[~allowed_V.to(logits_V.device)] = -math.inf
        return logits_V


def uniform(seed: int, position: int) -> float:
    """Return the number in [0, 1) that draws the token at this position of an answer."""
    digest = blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def draw(logits_V: Tensor, sampling: Sampling, u: float) -> int:
    """Return the token at which the probabilities, laid end to end, pass the share `u` of their sum."""
    p_V = torch.softmax(logits_V / sampling.temperature, -1)
    if sampling.min_p > 0:
        p_V = torch.where(p_V < sampling.min_p * p_V.max(), 0, p_V)
    tokens = None
    if sampling.top_k or sampling.top_p < 1:
        p_V, tokens = _likeliest(p_V, sampling.top_k, sampling.top_p)
    total_V = p_V.double().cumsum(-1)
    position = int(
        torch.searchsorted(total_V, u * float(total_V[-1]), right=True).clamp(max=len(total_V) - 1)
    )
    return position if tokens is None else int(tokens[position])


def _likeliest(p_V: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the likeliest tokens and their probabilities: at most `top_k`, and no more than reach `top_p`.

    The share is of what `top_k` and `min_p` have left.
    """
    words = len(p_V)
    whole = float(p_V.sum())
    count = min(top_k, words) if top_k else min(FIRST_CANDIDATES, words)
    while True:
        p, tokens = p_V.topk(count)
        before = p.double().cumsum(0) - p
        share = top_p * (float(p.sum()) if top_k else whole)
        kept = int((before < share).sum())
        if top_k or kept < count or count == words:
            return p[: max(kept, 1)], tokens[: max(kept, 1)]
        count = min(8 * count, words)


def token_choices(logits_SV: Tensor, tokens: Sequence[int], top: int) -> list[TokenChoice]:
    """Return each token's log-probability by its row of logits, and the `top` likeliest.

    They are computed as a training computes its losses.
    """
    highest_S, total_S = log_totals(logits_SV)

    def logprobs(logits_SN: Tensor) -> Tensor:
        return (logits_SN.float() - highest_S[:, None]) - total_S[:, None]

    index = torch.tensor(tokens, device=logits_SV.device)
    chosen = logprobs(logits_SV.gather(1, index[:, None]))[:, 0].tolist()
    values, likeliest = logits_SV.topk(top) if top else (logits_SV[:, :0], logits_SV[:, :0].long())
    rows = zip(tokens, chosen, likeliest.tolist(), logprobs(values).tolist(), strict=True)
    return [TokenChoice(t, p, tuple(zip(words, ps, strict=True))) for t, p, words, ps in rows]
