"""The parameters that chat and completions share: how the next token is chosen, and when an answer ends.

Names and ranges are OpenAI's. `top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `ignore_eos` and
`prompt_logprobs` are vLLM's.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from core.options import Options

MAX_CHOICES = 16
MAX_STOPS = 16
MAX_LOGPROBS = 20
MAX_ANSWER_TOKENS = 1_000_000  # the model's own limit is lower

Bias = Annotated[float, Field(ge=-100, le=100)]
TokenId = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})$")]
Stop = Annotated[str, Field(min_length=1, max_length=1024)]
ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        description="A model from `GET /v1/models`, a checkpoint (`…:ckpt-step-N`), an adapter's id "
        "or an alias",
    ),
]
User = Annotated[
    str | None,
    Field(
        max_length=512,
        description="If `model` is an alias that leads to several models, equal users get the same one",
    ),
]


class StreamOptions(Options):
    """Options of a stream. `include_obfuscation` may only be false: there is no padding to leave out."""

    include_usage: Annotated[
        bool | None, Field(description="Ends the stream with a chunk that has the usage and no choices")
    ] = None
    continuous_usage_stats: Annotated[
        bool | None, Field(description="vLLM's: every chunk has the usage up to then")
    ] = None
    include_obfuscation: bool | None = None


class Sampling(Options):
    """The parameters of sampling. Null stands for the default."""

    model: ModelName
    temperature: Annotated[
        float | None, Field(ge=0, le=2, description="0 always takes the likeliest token. Default: 1")
    ] = None
    top_p: Annotated[
        float | None,
        Field(ge=0, le=1, description="Keeps the likeliest tokens that have so much probability together"),
    ] = None
    top_k: Annotated[
        int | None, Field(ge=-1, le=1_000_000, description="Keeps so many tokens; 0 and -1 keep all")
    ] = None
    min_p: Annotated[
        float | None,
        Field(ge=0, le=1, description="Keeps tokens with so much of the likeliest token's probability"),
    ] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    repetition_penalty: Annotated[
        float | None, Field(gt=0, le=10, description="Above 1, tokens that occurred before get less likely")
    ] = None
    logit_bias: Annotated[
        dict[TokenId, Bias] | None,
        Field(max_length=1024, description="What to add to the logits, by the token's id"),
    ] = None
    seed: Annotated[
        int | None,
        Field(
            ge=-(2**63),
            le=2**63 - 1,
            description="The same request with the same seed gets the same answer",
        ),
    ] = None
    stop: Annotated[
        Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None,
        Field(description="Texts before which the answer ends. The answer does not contain them"),
    ] = None
    max_tokens: Annotated[
        int | None, Field(ge=0, le=MAX_ANSWER_TOKENS, description="Most tokens of each answer")
    ] = None
    min_tokens: Annotated[
        int | None, Field(ge=0, le=MAX_ANSWER_TOKENS, description="Fewest tokens of each answer")
    ] = None
    ignore_eos: Annotated[
        bool | None, Field(description="Whether the answer goes on after the model's end token")
    ] = None
    n: Annotated[int | None, Field(ge=1, le=MAX_CHOICES, description="Number of answers")] = None
    prompt_logprobs: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_LOGPROBS,
            description="Number of likeliest tokens to return at each position of the prompt",
        ),
    ] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: User = None

    @property
    def stops(self) -> list[str]:
        """The texts before which an answer ends."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else list(self.stop)

    @property
    def choices(self) -> int:
        """The number of answers to each prompt."""
        return self.n or 1

    @property
    def answers(self) -> int:
        """The number of answers to all prompts together."""
        return self.choices
