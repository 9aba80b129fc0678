"""How likely a model finds the row's own answer: loss and token accuracy, as training measures them."""

from typing import NamedTuple

import numpy as np

from core.evals.criteria import Loss, TokenAccuracy
from core.evals.results import RowResult
from core.serving.served_model import ServedModel
from worker.grading.asking import Asking
from worker.grading.prompt_logprobs import Choice, own_choice, prompt_logprobs
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums
from worker.rows.row import Row
from worker.tasks.evaluation.rows.items import Item
from worker.tasks.evaluation.rows.rendering import RenderedRows


class Likelihood(NamedTuple):
    """Sums over the row's learnt tokens, weighted by their messages' weights. `nll` is in nats."""

    nll: float
    right: float
    tokens: float


class LikelihoodMeter:
    """Measures rows of training files with the model that is judged."""

    def __init__(self, asking: Asking, rows: RenderedRows, model: str, served: ServedModel) -> None:
        self._asking, self._rows, self._model, self._served = asking, rows, model, served

    async def measure(self, item: Item, usage: UsageSums) -> Likelihood:
        """Return the row's sums. Raises RowFailed, and what `Asking.ask` raises."""
        if item.conversation is None:
            raise RowFailed("no_training_row", f"The row is not a row of a training file: {item.no_row}.")
        row = self._rows.get(item.line)
        if row is None:
            reason = "No token of an answer is left within the model's length."
            raise RowFailed("nothing_to_learn", reason)
        tokens, images = self._rows.prompt_of(row, item.conversation)
        places = await prompt_logprobs(self._asking, self._served, self._model, tokens, usage, images)
        return _sums(row, places)


def judge_likelihood(criterion: Loss | TokenAccuracy, found: Likelihood) -> RowResult:
    """Return the result of a row."""
    threshold = criterion.pass_threshold
    if isinstance(criterion, Loss):
        score, counts = found.nll / found.tokens, {"sum": found.nll, "tokens": found.tokens}
        passed = threshold is None or score <= threshold
    else:
        score, counts = found.right / found.tokens, {"right": found.right, "tokens": found.tokens}
        passed = threshold is None or score >= threshold
    return RowResult(name=criterion.name, type=criterion.type, score=score, passed=passed, counts=counts)


def _sums(row: Row, places: list[dict[str, Choice] | None]) -> Likelihood:
    """Add up the row's learnt tokens. The first token never counts: it has no token before it."""
    nll = right = 0.0
    weights_L = row.learnt_L.astype(np.float64) if row.weights_L is None else row.weights_L.astype(np.float64)
    for position in np.flatnonzero(row.learnt_L[1:]) + 1:
        own, weight = own_choice(places, int(position), row.tokens_L[position]), float(weights_L[position])
        nll -= weight * own["logprob"]
        right += weight * (own["rank"] == 1)
    return Likelihood(nll, right, row.weight)
