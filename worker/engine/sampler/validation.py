"""Refuses requests that cannot be computed, with the field that is wrong."""

import math

from worker.engine.sampler.requests import GenerationRequest, RequestRefused, Sampling
from worker.rows.image_store import words_among

MOST_TOP_LOGPROBS = 20
MOST_STOPS = 16
# The allowed range of each number: the ends belong to it
RANGES = {
    "min_tokens": (0, math.inf),
    "temperature": (0, 100),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_logprobs": (0, MOST_TOP_LOGPROBS),
}


def check_request(request: GenerationRequest, words: int, max_length: int, room: int | None) -> int:
    """Return the most tokens of the prompt with its answer. Raises RequestRefused.

    `words` is the size of the vocabulary, and `room` the number of tokens whose keys and values the whole
    pool holds.
    """
    _check_sampling(request.sampling, words)
    prompt = len(request.prompt)
    if not prompt:
        raise RequestRefused("The prompt has no tokens.", "prompt")
    words_of_prompt = request.prompt if request.images is None else words_among(request.prompt)
    for name, tokens in (("prompt", words_of_prompt), ("prediction", request.prediction)):
        if not all(0 <= token < words for token in tokens):
            raise RequestRefused(f"The {name} has a token that is not one of the model's {words}.", name)
    if prompt >= max_length:
        raise RequestRefused(
            f"The prompt has {prompt} tokens, and this model takes at most {max_length - 1}: shorten it.",
            "prompt",
        )
    longest = min(prompt + request.sampling.max_tokens, max_length)
    if room is not None and longest > room:
        raise RequestRefused(
            f"Prompt and max_tokens need room for {longest} tokens, and there is room for {room}: ask for "
            "fewer tokens.",
            "max_tokens",
        )
    return longest


def _check_sampling(sampling: Sampling, words: int) -> None:
    for name, (low, high) in RANGES.items():
        if not low <= getattr(sampling, name) <= high:
            raise RequestRefused(f"{name} must be between {low} and {high}.", name)
    if sampling.max_tokens < 1:
        raise RequestRefused("max_tokens must be at least 1.", "max_tokens")
    if not 0 < sampling.repetition_penalty < math.inf:
        raise RequestRefused("repetition_penalty must be greater than 0.", "repetition_penalty")
    if sampling.prompt_logprobs is not None and not 0 <= sampling.prompt_logprobs <= MOST_TOP_LOGPROBS:
        raise RequestRefused(f"prompt_logprobs must be between 0 and {MOST_TOP_LOGPROBS}.", "prompt_logprobs")
    if len(sampling.stop) > MOST_STOPS or not all(sampling.stop):
        raise RequestRefused(f"stop takes at most {MOST_STOPS} strings, none of them empty.", "stop")
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < words or not math.isfinite(bias):
            raise RequestRefused(f"logit_bias names {token}, or a bias that is not a number.", "logit_bias")
