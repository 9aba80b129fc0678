"""A request of `POST /v1/completions`."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from core.options import unsupported
from core.serving.schemas.messages import ImageUrl, beginning_with
from core.serving.schemas.sampling import MAX_CHOICES, MAX_LOGPROBS, Sampling

MAX_PROMPTS = 64
MAX_ANSWERS = 128

Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Prompts = Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
TokenPrompts = Annotated[list[Tokens], Field(min_length=1, max_length=MAX_PROMPTS)]

DEFAULT_TOKENS = 16  # OpenAI's default
BEGINNING = 256  # characters or tokens that two prompts have in common if one server shall do both


class CompletionRequest(Sampling):
    """Prompts to continue, without a chat template. The answers to each prompt follow one another."""

    prompt: Annotated[
        str | Prompts | Tokens | TokenPrompts,
        Field(description="A text or its tokens, or a list of texts or of their tokens"),
    ]
    images: Annotated[
        list[ImageUrl] | None,
        Field(
            description="The images of a single prompt. A text has the model's placeholder for each of them, "
            "and a list of tokens has all tokens of each, as `/v1/tokenize` returns them",
        ),
    ] = None
    echo: Annotated[bool | None, Field(description="Whether the answer begins with the prompt")] = None
    logprobs: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_LOGPROBS,
            description="Returns the log-probabilities of all tokens, and so many of the likeliest ones",
        ),
    ] = None
    best_of: Annotated[
        int | None, Field(ge=1, le=MAX_CHOICES, description="Must be equal to `n`: all answers are returned")
    ] = None
    suffix: None = unsupported("Answers end a text, and are not put before another one")

    @property
    def beginning(self) -> str:
        """This stands for the beginning of the first prompt: a server may have computed it before."""
        if self.images:
            return beginning_with(self.images[0])
        return str(self.prompts[0][:BEGINNING])

    @property
    def most_tokens(self) -> int:
        """The most tokens of each answer."""
        return DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, each a text or a list of tokens."""
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        if isinstance(prompt[0], int):
            return [[token for token in prompt if isinstance(token, int)]]
        return prompt

    @property
    def placed_images(self) -> Iterator[tuple[str, ImageUrl]]:
        """The images, each with the path to its URL."""
        for number, image in enumerate(self.images or ()):
            yield f"images.{number}.url", image

    @property
    def answers(self) -> int:
        """The number of answers to all prompts together."""
        return len(self.prompts) * self.choices
