"""Prompts of chats are rendered by the model's own template, in the form in which it was trained."""

from typing import Any

import pytest

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from tests.fixtures.models import tiny
from worker.rendering.render import Rendering
from worker.server.answering.prompts import PREDICTED, chat_prompt, text_prompts
from worker.server.sampling.longest_token import Room

MESSAGES: list[dict[str, Any]] = [
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "user", "content": "Hi <|im_end|>"},
]
ROOM = Room(512, None)
ONLY_PARTS = tiny.TEMPLATE.replace(
    "{{ message['content'] }}", "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
)
TOOL = {"type": "function", "function": {"name": "paint", "description": "Paints", "parameters": {}}}


def request(messages: list[dict[str, Any]], **body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": messages, **body})


def tokenizer(template: str | None = tiny.TEMPLATE) -> Any:
    found = tiny.text()
    found.chat_template = template
    return found


class NotingTokenizer:
    """A tokenizer that notes which texts it is given."""

    def __init__(self) -> None:
        self._tokenizer, self.given = tokenizer(), list[str]()

    def __call__(self, text: str, **options: Any) -> Any:
        self.given.append(text)
        return self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def test_only_as_much_of_a_prediction_is_tokenized_as_the_model_takes() -> None:
    tokens = NotingTokenizer()
    predicted = request(MESSAGES, prediction={"type": "content", "content": "<b>" * 100_000})
    found = chat_prompt(tokens, predicted, ROOM)
    assert len(found.prediction) == ROOM.tokens
    assert max(map(len, tokens.given)) == PREDICTED * ROOM.tokens


@pytest.mark.parametrize("template", [tiny.TEMPLATE, ONLY_PARTS])
def test_a_model_is_asked_as_it_was_trained(template: str) -> None:
    tokens = tokenizer(template)
    prompt, *_ = chat_prompt(tokens, request(MESSAGES), ROOM)
    row = {"messages": [*MESSAGES, {"role": "assistant", "content": "Hello"}]}
    (trained,) = Rendering(tokens, 512, "training_file").render([(1, row)])
    learnt_from = int(trained.learnt_L.argmax())
    assert prompt == trained.tokens_L[:learnt_from].tolist()
    assert "Be brief." in tokens.decode(prompt)


def test_tools_and_the_arguments_of_calls_reach_the_template_as_objects() -> None:
    template = (
        "{{ tools[0].function.name }}"
        "{% for m in messages %}"
        "{% for c in m.tool_calls or [] %}{{ c.function.arguments.colour }}{% endfor %}"
        "{{ m.content }}{% endfor %}"
    )
    call = {"id": "c1", "type": "function", "function": {"name": "paint", "arguments": '{"colour": "red"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    tokens = tokenizer(template)
    prompt, *_ = chat_prompt(tokens, request(messages, tools=[TOOL]), ROOM)
    assert tokens.decode(prompt) == "paintreddone"


def test_a_prompt_opens_the_call_that_the_model_must_make() -> None:
    tokens = tokenizer(tiny.TEMPLATE + "{{ '' if tools else '' }}{# <tool_call> #}")
    asked = request(MESSAGES, tools=[TOOL], tool_choice="required")
    assert tokens.decode(chat_prompt(tokens, asked, ROOM).tokens).endswith(
        "<|im_start|>assistant\n<tool_call>\n"
    )
    free = request(MESSAGES, tools=[TOOL])
    assert tokens.decode(chat_prompt(tokens, free, ROOM).tokens).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("template", "param"),
    [
        (None, "model"),
        ("{{ raise_exception('No system messages') }}", "messages"),
        ("{{ 1 + 'a' }}", "messages"),
        ("{{ 1 // 0 }}", "messages"),
        ("{{ '{}'.format() }}", "messages"),
    ],
)
def test_what_the_template_does_not_take_is_refused(template: str | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat_prompt(tokenizer(template), request(MESSAGES), ROOM)
    assert refused.value.param == param


def test_a_completions_prompt_is_text_or_known_tokens() -> None:
    tokens = tokenizer()
    assert text_prompts(tokens, ["ab"], 300) == [tokens("ab")["input_ids"]]
    assert text_prompts(tokens, [[1, 2]], 300) == [[1, 2]]
    for wrong in ([1, 300], ""):
        with pytest.raises(InvalidRequest) as refused:
            text_prompts(tokens, [wrong], 300)
        assert refused.value.param == "prompt"
