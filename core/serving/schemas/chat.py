"""A request of `POST /v1/chat/completions`."""

from typing import Annotated, Literal

from pydantic import Field

from core.options import Metadata, Options, unsupported
from core.response_formats import FunctionName, JsonSchema, ResponseFormat
from core.serving.schemas.messages import Message, Text, beginning_of
from core.serving.schemas.sampling import MAX_ANSWER_TOKENS, MAX_LOGPROBS, Sampling

MAX_TOOLS = 128
MAX_MESSAGES = 4096


class Function(Options):
    """A function that the model may call. Without `parameters`, it takes none."""

    name: FunctionName
    description: str | None = None
    parameters: Annotated[JsonSchema | None, Field(description="A JSON schema")] = None
    strict: Annotated[
        bool | None, Field(description="Whether the arguments must have the form of `parameters`")
    ] = None


class Tool(Options):
    type: Literal["function"]
    function: Function


class NamedFunction(Options):
    name: FunctionName


class NamedTool(Options):
    type: Literal["function"]
    function: NamedFunction


class Prediction(Options):
    """A text that most of the answer will repeat, such as one that the client wants edited."""

    type: Literal["content"]
    content: Text


class PromptCacheOptions(Options):
    mode: Literal["implicit"] = "implicit"


class ChatRequest(Sampling):
    """A chat: OpenAI's parameters, and vLLM's own under their names.

    Some of OpenAI's parameters mean nothing here. They are accepted with the value that asks for nothing.
    """

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[
        int | None,
        Field(ge=1, le=MAX_ANSWER_TOKENS, description="Most tokens of each answer. Replaces `max_tokens`"),
    ] = None
    logprobs: Annotated[
        bool | None, Field(description="Whether to return the log-probabilities of the answer's tokens")
    ] = None
    top_logprobs: Annotated[
        int | None,
        Field(
            ge=0, le=MAX_LOGPROBS, description="Number of likeliest tokens to return beside each token's own"
        ),
    ] = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | NamedTool | None,
        Field(description="Whether the model must call a tool. Default: `auto` if there are tools"),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, Field(description="Whether one answer may have several calls")
    ] = None
    prediction: Annotated[
        Prediction | None,
        Field(description="Makes an answer like it come faster, and changes nothing but rounding"),
    ] = None
    store: Annotated[bool | None, Field(description="Whether to keep request and answer")] = None
    metadata: Annotated[Metadata | None, Field(description="Pairs that are kept with the answer")] = None

    # What follows has no effect.
    service_tier: Literal["auto", "default"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory"] | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    safety_identifier: str | None = None
    verbosity: Literal["medium"] | None = None
    reasoning_effort: None = unsupported("The models on offer have no reasoning effort")
    audio: None = unsupported("Models answer with text only")
    functions: None = unsupported("Use `tools` instead")
    function_call: None = unsupported("Use `tool_choice` instead")
    moderation: None = unsupported("Nothing moderates here")
    web_search_options: None = unsupported("Nothing searches the web here")

    @property
    def beginning(self) -> str:
        """What stands for the beginning of the prompt: a server may have computed it before."""
        return beginning_of(self.messages)

    @property
    def most_tokens(self) -> int | None:
        """The most tokens of each answer, or None for as many as the model's length leaves."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
