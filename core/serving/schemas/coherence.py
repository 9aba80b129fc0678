"""Checks that the parameters of a request fit together. The schemas check each of them alone.

The process in which a request begins checks it, once: the API, or an eval run. Servers trust both.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import InvalidRequest
from core.images.parts import MAX_IN_ROW, UnusableImage, encoded_image
from core.serving.schemas.chat import ChatRequest, NamedTool
from core.serving.schemas.completions import MAX_ANSWERS, CompletionRequest
from core.serving.schemas.logprob_bound import check_logprobs
from core.serving.schemas.messages import AssistantMessage, ImageUrl, Message, ToolMessage, images_of
from core.serving.schemas.sampling import Sampling
from core.serving.schemas.tokens import Conversation, TokenizeRequest

Schema = TypeVar("Schema", bound=BaseModel)


def parse(schema: type[Schema], value: Any, prefix: str = "") -> Schema:
    """Return a body, or the part of one at `prefix`, as its schema has it. Raises InvalidRequest."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in (prefix, *first["loc"]) if part != "") or None
        message = f"Invalid value for '{param}': {first['msg']}."
        raise InvalidRequest(message, code="invalid_value", param=param) from error


def check_chat(request: ChatRequest) -> None:
    """Raise InvalidRequest, which names the first parameter that does not fit."""
    _check_sampling(request, request.most_tokens)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise _wrong("max_tokens", "Send 'max_completion_tokens' or 'max_tokens', but not both.")
    if request.max_tokens == 0:
        raise _wrong("max_tokens", "'max_tokens' must be at least 1.")
    if request.top_logprobs and not request.logprobs:
        raise _wrong("top_logprobs", "'top_logprobs' needs 'logprobs': true.")
    check_logprobs(request, (request.most_tokens or 0) * request.choices)
    _check_tools(request)
    _check_messages(request.messages)


def check_completion(request: CompletionRequest) -> None:
    """Raise InvalidRequest, which names the first parameter that does not fit."""
    _check_sampling(request, request.most_tokens)
    if request.max_tokens == 0 and not request.echo:
        raise _wrong("max_tokens", "'max_tokens' may only be 0 with 'echo': true.")
    if request.best_of is not None and request.best_of != request.choices:
        raise _wrong("best_of", "'best_of' must be equal to 'n': all answers are returned.")
    if request.answers > MAX_ANSWERS:
        raise _wrong("n", f"A request may have {MAX_ANSWERS} answers: its prompts, times 'n'.")
    if request.images and len(request.prompts) > 1:
        raise _wrong("images", "'images' belong to one prompt. Send a request for each prompt.")
    _check_images(request.placed_images)
    tokens = sum(len(prompt) for prompt in request.prompts if not isinstance(prompt, str))
    check_logprobs(request, request.most_tokens * len(request.prompts) * request.choices, tokens)


def check_tokenize(request: TokenizeRequest) -> None:
    """Raise InvalidRequest, which names the first parameter that does not fit."""
    if (request.messages is None) == (request.prompt is None):
        raise _wrong("messages", "Send 'messages' or 'prompt', and not both.")
    if request.messages is not None:
        _check_tools(request)
        _check_messages(request.messages)
    elif request.tools or request.tool_choice not in (None, "none"):
        raise _wrong("tools", "'tools' need 'messages'.")


def _check_sampling(request: Sampling, most_tokens: int | None) -> None:
    if request.stream_options is not None and not request.stream:
        raise _wrong("stream_options", "'stream_options' needs 'stream': true.")
    if request.prompt_logprobs is not None and request.stream:
        raise _wrong("prompt_logprobs", "'prompt_logprobs' is not streamed. Ask for it without 'stream'.")
    if most_tokens is not None and (request.min_tokens or 0) > most_tokens:
        raise _wrong("min_tokens", f"'min_tokens' must be at most {most_tokens}, as 'max_tokens' is.")


def _check_tools(request: Conversation) -> None:
    names = [tool.function.name for tool in request.tools or []]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise _wrong(f"tools.{position}.function.name", f"Two tools have the name '{name}'.")
    choice = request.tool_choice
    if choice not in (None, "none") and not names:
        raise _wrong("tool_choice", "'tool_choice' needs 'tools'.")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise _wrong("tool_choice.function.name", f"No tool has the name '{choice.function.name}'.")


def _check_messages(messages: Sequence[Message]) -> None:
    _check_images(images_of(messages))
    called: set[str] = set()
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            if message.content is None and message.refusal is None and not message.tool_calls:
                raise _wrong(
                    f"messages.{position}.content", "An assistant's message needs 'content' or 'tool_calls'."
                )
            called |= {call.id for call in message.tool_calls or []}
        if isinstance(message, ToolMessage) and message.tool_call_id not in called:
            raise _wrong(
                f"messages.{position}.tool_call_id",
                f"No assistant's message before it has a call with the id '{message.tool_call_id[:64]}'.",
            )


def _check_images(images: Iterable[tuple[str, ImageUrl]]) -> None:
    """Raise InvalidRequest for what can be seen without decoding an image. Each comes with its path."""
    for count, (path, image) in enumerate(images, 1):
        if count > MAX_IN_ROW:
            raise _wrong(path, f"A request may have {MAX_IN_ROW} images. Send fewer.")
        try:
            encoded_image(image.url)
        except UnusableImage as error:
            raise unusable_image(error, path) from error


def unusable_image(error: UnusableImage, path: str) -> InvalidRequest:
    """Return what a client reads about the image at `path` of its request."""
    return InvalidRequest(f"'{path}' {error}.", code=error.code, param=path)


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
