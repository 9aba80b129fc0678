"""Asks a model how likely it finds given tokens, each after those before it."""

from collections.abc import Sequence
from functools import partial
from math import isfinite
from typing import Any

from core.serving.paths import COMPLETIONS
from core.serving.served_model import ServedModel
from worker.grading.asking import Asking
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums

Choice = dict[str, Any]
"""A token as vLLM describes it: `logprob`, in nats, and `rank`, which is 1 for the likeliest one"""


async def prompt_logprobs(
    asking: Asking,
    served: ServedModel,
    model: str,
    tokens: Sequence[int],
    usage: UsageSums,
    images: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Choice] | None]:
    """Return the choices at the place of each token, by their numbers as texts. The first place has none.

    `images` are those whose tokens are among the tokens, in OpenAI's form. Raises what `Asking.ask` raises.
    """
    asked = {
        "model": model,
        "prompt": list(tokens),
        "max_tokens": 0,
        "echo": True,
        "prompt_logprobs": 1,
        "temperature": 0,
    }
    if images:
        asked["images"] = list(images)
    found = await asking.ask(COMPLETIONS, served, asked, partial(usage.add_answer, model))
    places: list[dict[str, Choice] | None] = found["choices"][0]["prompt_logprobs"]
    return places


def own_choice(places: Sequence[dict[str, Choice] | None], place: int, token: int) -> Choice:
    """Return the choice of the text's own token. Raises RowFailed if it has no probability."""
    own = (places[place] or {})[str(token)]
    if own["logprob"] is None or not isfinite(own["logprob"]):
        raise RowFailed("loss_not_finite", f"The model gives token {place} of the row no probability.")
    return own
