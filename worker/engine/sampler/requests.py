"""What the sampler is asked, and what it gives back. It knows nothing of HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.errors import TuneryError
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.draft import Drafted
from worker.rows.image_store import ImageStore

FinishReason = Literal["stop", "length", "error"]
GrammarKind = Literal["json_object", "json_schema", "regex", "lark"]


class RequestRefused(TuneryError):
    """A request that the sampler does not take. `param` is the field that is wrong, by the names below."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message, self.param = message, param


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when an answer ends.

    With a temperature below 1e-5 the likeliest token comes next. `top_k` of 0 and `top_p` of 1 leave out
    nothing. The answer follows from `seed` and its own tokens alone, whoever is computed beside: in fp32, and
    in bf16 where rounding does not decide. Before `min_tokens` neither the end tokens, `stop_tokens` nor
    `stop` end the answer. `ignore_eos` lets the model's own end tokens pass. A stop string never becomes a
    part of the text.

    `logprobs` asks for each token's log-probability, and for those of the `top_logprobs` likeliest tokens.
    They are the model's own, before temperature, penalties, bias and grammar. `prompt_logprobs` asks for the
    same of the prompt's tokens, with so many of the likeliest; None asks for nothing.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    stop_tokens: frozenset[int] = frozenset()
    ignore_eos: bool = False
    seed: int = 0
    logprobs: bool = False
    top_logprobs: int = 0
    prompt_logprobs: int | None = None


@dataclass(frozen=True)
class Grammar:
    """What every answer must match. `source` is a JSON schema, a regular expression, or a Lark grammar.

    A `json_object` needs no source.
    """

    kind: GrammarKind
    source: str = ""


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to one prompt.

    `id` is unique among the requests that have not ended. Several answers to one prompt are several requests
    with seeds of their own: they share the computation of the prompt. The caller keeps `adapter` pinned
    (`AdapterCache.acquire`) until the last piece has come. Projects get equal shares of the computation, and
    nothing that was computed for one is used for another. `prediction` is what the answer may be: it changes
    only the time that the answer takes, up to rounding in bf16. `images` has the vectors of the prompt's
    tokens that stand for images.
    """

    id: str
    prompt: Sequence[int]
    sampling: Sampling
    adapter: ServedAdapter | None = None
    grammar: Grammar | None = None
    project: str = ""
    prediction: Sequence[int] = ()
    images: ImageStore | None = None


@dataclass(frozen=True)
class TokenChoice:
    """A token with its log-probability, and the likeliest tokens at its position, the likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A token that a step has added to an answer.

    `token` is None only in a last piece that adds no token (`finish_reason` "error"). The token that ends an
    answer is reported too, without text. `text` holds the characters that have become certain: those of a
    possible stop string, or of a character whose last byte is missing, are held back until a later piece.
    The last piece gives what was left. `chosen` is there if log-probabilities are asked for. A token
    `is_forced` if the grammar admitted no other one.

    `cached_tokens` counts the prompt's tokens that were not computed for this request, and
    `prompt_logprobs` holds those of the prompt's tokens, None for the first; both are in the first piece.
    `stop_reason` is the stop string or stop token that has ended the answer; None if it was an end token.
    `drafted` is in the last piece of a step that has computed a draft of the answer. `error` is a sentence
    for the client.
    """

    request_id: str
    token: int | None
    text: str
    chosen: TokenChoice | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    cached_tokens: int = 0
    prompt_logprobs: tuple[TokenChoice | None, ...] | None = None
    drafted: Drafted | None = None
    error: str | None = None
    is_forced: bool = False
