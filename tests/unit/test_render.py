"""Rows to tokens, with a real tokenizer: what is learnt, and which rows are refused with their line."""

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from core.errors import JobError
from worker.data.render import Rendered, render

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_A_PROMPT = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
USER_FIRST = "{% if messages[0].role != 'user' %}{{ raise_exception('users begin') }}{% endif %}" + CHATML
ADDS_A_NAME = "{% for message in messages %}{{ message.content + message.get('name') }}{% endfor %}"

HELLO = {"role": "assistant", "content": "Hello!"}
QUESTION = {"role": "user", "content": "Who are you?"}
ANSWER = {"role": "assistant", "content": "A shop assistant."}


def make_tokenizer(template: str | None) -> Any:
    """One token a byte."""
    alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def render_one(template: str | None, *messages: dict[str, Any], param: str = "training_file") -> Rendered:
    return render(make_tokenizer(template), [(7, {"messages": list(messages)})], 1000, param)


def learnt(rendered: Rendered, *messages: dict[str, Any]) -> list[str]:
    """The stretches of the row's text that are learnt."""
    text = make_tokenizer(CHATML).apply_chat_template(list(messages), tokenize=False)
    (row,) = rendered.rows
    edges = np.flatnonzero(np.diff(row.learnt_L, prepend=False, append=False))
    return [text[start:stop] for start, stop in edges.reshape(-1, 2)]


def test_every_answer_is_learnt_with_the_token_that_ends_it() -> None:
    messages = (QUESTION, ANSWER, QUESTION, HELLO)
    assert learnt(render_one(CHATML, *messages), *messages) == [
        "A shop assistant.<|im_end|>",
        "Hello!<|im_end|>",
    ]


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "A shop "}, {"type": "text", "text": "assistant."}]
    rendered = render_one(CHATML, QUESTION, {**ANSWER, "content": parts})
    assert learnt(rendered, QUESTION, ANSWER) == ["A shop assistant.<|im_end|>"]


def test_an_answer_that_opens_the_conversation_is_learnt_like_any_other() -> None:
    messages = (HELLO, QUESTION, ANSWER)
    assert learnt(render_one(CHATML, *messages), *messages) == [
        "Hello!<|im_end|>",
        "A shop assistant.<|im_end|>",
    ]


def test_an_opening_answer_of_weight_0_is_not_learnt() -> None:
    messages = ({**HELLO, "weight": 0}, QUESTION, ANSWER)
    assert learnt(render_one(CHATML, *messages), *messages) == ["A shop assistant.<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (WITHOUT_A_PROMPT, "must not open with the assistant"),
        (USER_FIRST, "users begin"),
        (ADDS_A_NAME, "NoneType"),
    ],
)
def test_a_row_that_the_template_refuses_fails_the_job_with_its_line(template: str, reason: str) -> None:
    with pytest.raises(JobError, match=f"Line 7: .*{reason}") as raised:
        render_one(template, HELLO, QUESTION, ANSWER)
    assert (raised.value.code, raised.value.param) == ("invalid_training_file", "training_file")


def test_the_code_names_the_file_that_is_wrong() -> None:
    with pytest.raises(JobError) as raised:
        render_one(USER_FIRST, HELLO, param="validation_file")
    assert (raised.value.code, raised.value.param) == ("invalid_validation_file", "validation_file")


def test_a_base_model_without_a_chat_template_is_named_as_the_cause() -> None:
    with pytest.raises(JobError, match="no chat template") as raised:
        render_one(None, QUESTION, ANSWER)
    assert (raised.value.code, raised.value.param) == ("model_unavailable", "model")


def test_a_file_of_long_rows_is_told_by_its_first_lines_and_their_number() -> None:
    rendered = Rendered(cut=list(range(1, 5001)))
    ((message, data),) = rendered.warnings("training_file", 512)
    assert message.startswith(
        "training_file: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 4990 more are longer than"
    )
    assert data == {"count": 5000, "lines": list(range(1, 101))}


def test_rows_that_are_as_they_were_are_not_told() -> None:
    assert list(render_one(CHATML, QUESTION, ANSWER).warnings("training_file", 512)) == []
