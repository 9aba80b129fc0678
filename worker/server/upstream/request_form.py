"""A request in the form that vLLM takes, so that it means there what it means to the own sampler."""

from typing import Any

from core.response_formats import JsonSchemaFormat
from core.serving.errors import UnsuitedServer
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.logprob_bound import check_logprobs, most_tokens
from core.serving.schemas.messages import Message, images_of, plain_text
from core.serving.schemas.sampling import Sampling

# vLLM takes what is missing from the model's own `generation_config.json`, so nothing may be missing.
DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
}
SHARED = (
    "logit_bias",
    "seed",
    "stop",
    "min_tokens",
    "ignore_eos",
    "n",
    "prompt_logprobs",
    "stream",
)


def chat_body(request: ChatRequest, max_length: int, project: str) -> dict[str, Any]:
    """Return a chat without its `model`. What has no effect here is left out.

    `max_length` is the most tokens of prompt and answer together. vLLM refuses to be asked for more. Only
    vLLM knows the tokens of a text, so each character counts as one in the bound of log-probabilities. vLLM
    uses nothing that it has computed for one `project` for another. Raises UnsuitedServer and InvalidRequest.
    """
    body = _sampling(request, project) | {"messages": [_message(each) for each in request.messages]}
    body |= _given(request, "logprobs", "top_logprobs", "response_format")
    characters = sum(len(plain_text(each.content)) for each in request.messages)
    body["max_completion_tokens"] = most_tokens(request, characters, max_length)
    if isinstance(request.response_format, JsonSchemaFormat):
        body["response_format"]["json_schema"].setdefault("schema", {})
    if request.tools and request.tool_choice != "none":
        body |= _given(request, "tools", "tool_choice", "parallel_tool_calls")
    return body


def completion_body(request: CompletionRequest, max_length: int, project: str) -> dict[str, Any]:
    """Return a completion without its `model`. Raises UnsuitedServer and InvalidRequest."""
    if request.images:
        raise UnsuitedServer(
            "The upstream of this model reads images in chats only. Send them in 'messages'.", param="images"
        )
    most = min(request.most_tokens, max_length)
    check_logprobs(request, most * request.answers, sum(map(len, request.prompts)))
    body = _sampling(request, project) | _given(request, "prompt", "echo", "logprobs")
    return {**body, "max_tokens": most}


def _sampling(request: Sampling, project: str) -> dict[str, Any]:
    if request.choices > 1 and request.temperature == 0:
        raise UnsuitedServer(
            "The upstream of this model gives one answer only if 'temperature' is 0: all would be the same. "
            "Leave 'n' out.",
            param="n",
        )
    body = DEFAULTS | _given(request, *DEFAULTS) | _given(request, *SHARED)
    if project:
        body["cache_salt"] = project  # vLLM refuses an empty one
    if request.stream and request.stream_options is not None:
        body["stream_options"] = _given(request.stream_options, "include_usage", "continuous_usage_stats")
    return body


def _message(message: Message) -> dict[str, Any]:
    """Return a message with its content as text, if it has no images, and `system` for `developer`."""
    plain = message.model_dump(exclude_none=True, include={"role", "name", "tool_calls", "tool_call_id"})
    role = "system" if message.role == "developer" else message.role
    if any(images_of([message])):
        return {**plain, **message.model_dump(include={"content"}, exclude_none=True), "role": role}
    return {**plain, "role": role, "content": plain_text(message.content)}


def _given(options: Any, *names: str) -> dict[str, Any]:
    """Return the fields with these names that have a value."""
    found: dict[str, Any] = options.model_dump(include=set(names), exclude_none=True, by_alias=True)
    return found
