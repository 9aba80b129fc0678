"""A request's parameters as the sampler takes them."""

import hashlib
import secrets
from dataclasses import replace

from core.errors import InvalidRequest
from core.serving.schemas import sampling as wire
from worker.engine.sampler.requests import Sampling

SEED_BITS = 63


def sampling_of(request: wire.Sampling, most_tokens: int) -> Sampling:
    """Return the parameters of the first answer. Without a seed, it gets a random one."""
    return Sampling(
        max_tokens=most_tokens,
        min_tokens=min(request.min_tokens or 0, most_tokens),
        temperature=_or(request.temperature, 1.0),
        top_p=_or(request.top_p, 1.0),
        top_k=max(0, request.top_k or 0),
        min_p=request.min_p or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repetition_penalty=_or(request.repetition_penalty, 1.0),
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        stop=tuple(request.stops),
        ignore_eos=bool(request.ignore_eos),
        seed=secrets.randbits(SEED_BITS) if request.seed is None else request.seed % 2**SEED_BITS,
        prompt_logprobs=request.prompt_logprobs,
    )


def of_choices(sampling: Sampling, count: int) -> list[Sampling]:
    """Return the parameters of so many answers to one prompt: each has a seed of its own."""
    return [sampling, *(replace(sampling, seed=_seed(sampling.seed, index)) for index in range(1, count))]


def tokens_left(prompt: int, max_length: int, param: str) -> int:
    """Return the most tokens that an answer to a prompt of `prompt` tokens has room for.

    Raises InvalidRequest, which names `param`, if the prompt leaves no room for an answer.
    """
    left = max_length - prompt
    if left < 1:
        raise InvalidRequest(
            f"This model's maximum context length is {max_length} tokens, but '{param}' has {prompt} tokens "
            "and leaves no room for an answer. Shorten it.",
            code="context_length_exceeded",
            param=param,
        )
    return left


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _seed(first: int, index: int) -> int:
    digest = hashlib.sha256(f"{first} {index}".encode()).digest()
    return int.from_bytes(digest[:8]) % 2**SEED_BITS
