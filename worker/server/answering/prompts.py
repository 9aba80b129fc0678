"""Prompts as tokens: chats by the model's own chat template, and texts as they are.

The process that renders runs this module (`worker/server/sampling/prompting.py`). Messages get the same form
as the rows of a training file (`worker/rendering/render.py`): a model is asked as it was trained.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.messages import AssistantMessage, Message, ToolMessage, images_of, plain_text
from core.serving.schemas.tokens import Conversation, TokenizeRequest
from worker.rendering.images import ConversationImages
from worker.rendering.row_template import REFUSALS, image_count, reads_only_parts, template_parts
from worker.rendering.tool_forms import ToolForm, form_of
from worker.server.answering.tool_choice import must_call, tool_names
from worker.server.sampling.longest_token import Room

PREDICTED = 16  # characters of a prediction for each token that the model takes: more are not looked at


class ChatPrompt(NamedTuple):
    """A chat's prompt, the answer that the client predicts, and the form in which the model writes calls."""

    tokens: list[int]
    prediction: list[int]
    tool_form: ToolForm


def chat_prompt(
    tokenizer: Any, request: ChatRequest, room: Room, images: ConversationImages | None = None
) -> ChatPrompt:
    """Return the prompt. `images` are those of the messages.

    Raises InvalidRequest, also if the bytes of the prompt show that its tokens are too many.
    """
    text, form = chat_text(tokenizer, request, images)
    room.refuse_by_bytes(text, "messages")
    predicted = plain_text(request.prediction.content) if request.prediction else ""
    prediction = _tokens(tokenizer, predicted[: PREDICTED * room.tokens], special=False)[: room.tokens]
    tokens = _tokens(tokenizer, text, special=False)
    return ChatPrompt(images.numbered(tokens) if images else tokens, prediction, form)


def tokenized(
    tokenizer: Any, request: TokenizeRequest, images: ConversationImages | None = None
) -> tuple[str, list[int]]:
    """Return the prompt that a client asks to see, and its tokens. Raises InvalidRequest."""
    special = request.add_special_tokens
    if request.prompt is not None:
        return request.prompt, _tokens(tokenizer, request.prompt, special=special is not False)
    text, _ = chat_text(tokenizer, request, images, opens_answer=request.add_generation_prompt is not False)
    return text, _tokens(tokenizer, text, special=bool(special))


def chat_text(
    tokenizer: Any,
    request: Conversation,
    images: ConversationImages | None = None,
    *,
    opens_answer: bool = True,
) -> tuple[str, ToolForm]:
    """Return the prompt, and the form in which the model writes calls. Raises InvalidRequest.

    With `opens_answer`, the prompt ends with the beginning of an answer. If the model must call a tool, this
    includes the mark that opens a call.
    """
    tools = (
        [tool.model_dump(exclude_none=True) for tool in request.tools or ()] if tool_names(request) else []
    )
    template = _template(tokenizer, bool(tools))
    if tools and "tools" not in template:
        raise InvalidRequest(
            "The chat template of this model has no place for tools. Leave 'tools' out, or take another "
            "model.",
            code="unsupported_parameter",
            param="tools",
        )
    in_parts = images is not None or reads_only_parts(tokenizer, template)
    messages = [_as_template_takes(message, in_parts=in_parts) for message in request.messages or ()]
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=tools or None, tokenize=False, add_generation_prompt=opens_answer
        )
        text = images.expanded(text, image_count(messages)) if images else text
    except REFUSALS as error:
        raise InvalidRequest(
            f"The model's chat template refuses the messages: {error}", code="invalid_value", param="messages"
        ) from error
    form = form_of(template)
    if opens_answer and must_call(request) and form.opening:
        text += f"{form.opening}\n"
    return text, form


def text_prompts(
    tokenizer: Any,
    prompts: Sequence[str | list[int]],
    vocabulary: int,
    images: ConversationImages | None = None,
) -> list[list[int]]:
    """Return the tokens of a completion's prompts. If there are `images`, it has a single one.

    Raises InvalidRequest.
    """
    return [_text_prompt(tokenizer, prompt, vocabulary, images) for prompt in prompts]


def _text_prompt(
    tokenizer: Any, prompt: str | list[int], vocabulary: int, images: ConversationImages | None
) -> list[int]:
    """Return the tokens of a prompt. Raises InvalidRequest if it has none."""
    try:
        if images is not None and isinstance(prompt, str):
            prompt = images.expanded(prompt)
    except TemplateError as error:
        raise InvalidRequest(
            f"The prompt is refused: {error}.", code="invalid_value", param="prompt"
        ) from error
    tokens = _tokens(tokenizer, prompt, special=True) if isinstance(prompt, str) else prompt
    unknown = next((token for token in tokens if token >= vocabulary), None)
    if unknown is not None:
        raise InvalidRequest(
            f"The model has no token {unknown}: its tokens are 0 to {vocabulary - 1}.",
            code="invalid_value",
            param="prompt",
        )
    if not tokens:
        raise InvalidRequest("'prompt' must not be empty.", code="invalid_value", param="prompt")
    if images is None:
        return tokens
    found, wanted = images.tokens_among(tokens), images.tokens
    if found != wanted:
        raise InvalidRequest(
            f"The prompt has {found} tokens of images, and the 'images' have {wanted}. Ask /v1/tokenize for "
            "the tokens of a chat with the same images in the same detail.",
            code="invalid_value",
            param="prompt",
        )
    return images.numbered(tokens)


def _tokens(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _template(tokenizer: Any, with_tools: bool) -> str:
    try:
        return str(tokenizer.get_chat_template(tools=[{}] if with_tools else None))
    except ValueError as error:
        raise InvalidRequest(
            "This model has no chat template. Use /v1/completions, or another model.",
            code="unsupported_model",
            param="model",
        ) from error


def _as_template_takes(message: Message, *, in_parts: bool) -> dict[str, Any]:
    """Return the message with `system` for `developer`, and arguments parsed.

    Its content is a text, or a list of parts.
    """
    role = "system" if message.role == "developer" else message.role
    plain: dict[str, Any] = {"role": role, "content": _content(message, in_parts=in_parts)}
    if message.name is not None:
        plain["name"] = message.name
    if isinstance(message, ToolMessage):
        plain["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage) and message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": _parsed(call.function.name, call.function.arguments),
            }
            for call in message.tool_calls
        ]
    return plain


def _content(message: Message, *, in_parts: bool) -> str | list[dict[str, str]]:
    if not in_parts:
        return plain_text(message.content)
    has_images = any(images_of([message]))
    return template_parts(message.model_dump()["content"] if has_images else plain_text(message.content))


def _parsed(name: str, arguments: str) -> dict[str, Any]:
    """Return a called function as chat templates take it: they write the arguments as JSON themselves."""
    try:
        return {"name": name, "arguments": json.loads(arguments)}
    except (ValueError, RecursionError):
        return {"name": name, "arguments": arguments}
