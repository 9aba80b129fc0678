"""Rendering with a real tokenizer: which tokens are learnt, and which rows are refused with their line."""

from typing import Any

import numpy as np
import pytest

from core.errors import JobError
from tests.fixtures.rows.rendering import make_tokenizer, render
from worker.rendering.render import Rendering
from worker.rows.row import Row

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ONLY_PARTS = CHATML.replace(
    "{{ message.content }}", "{% for part in message.content %}{{ part.text }}{% endfor %}"
)
WITHOUT_A_PROMPT = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
USER_FIRST = "{% if messages[0].role != 'user' %}{{ raise_exception('users begin') }}{% endif %}" + CHATML
ADDS_A_NAME = "{% for message in messages %}{{ message.content + message.get('name') }}{% endfor %}"

HELLO = {"role": "assistant", "content": "Hello!"}
QUESTION = {"role": "user", "content": "Who are you?"}
ANSWER = {"role": "assistant", "content": "A shop assistant."}


def render_one(template: str | None, *messages: dict[str, Any]) -> list[Row]:
    return render(make_tokenizer(template), {"messages": list(messages)})


def learnt(rows: list[Row], *messages: dict[str, Any]) -> list[str]:
    """Return the parts of the row's text that are learnt."""
    text = make_tokenizer(CHATML).apply_chat_template(list(messages), tokenize=False)
    (row,) = rows
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


def test_a_template_that_reads_only_parts_gets_texts_as_parts() -> None:
    """Templates of models with images are like this. They leave a text out without a word."""
    (row,), (expected,) = (render_one(template, QUESTION, ANSWER) for template in (ONLY_PARTS, CHATML))
    assert row.tokens_L.tolist() == expected.tokens_L.tolist()
    assert row.learnt_L.tolist() == expected.learnt_L.tolist()


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
    rendering = Rendering(make_tokenizer(USER_FIRST), 1000, "validation_file")
    with pytest.raises(JobError) as raised:
        list(rendering.render([(1, {"messages": [HELLO]})]))
    assert (raised.value.code, raised.value.param) == ("invalid_validation_file", "validation_file")


def test_a_base_model_without_a_chat_template_is_named_as_the_cause() -> None:
    with pytest.raises(JobError, match="no chat template") as raised:
        render_one(None, QUESTION, ANSWER)
    assert (raised.value.code, raised.value.param) == ("model_unavailable", "model")


def test_a_warning_about_long_rows_names_the_first_lines_and_counts_all() -> None:
    rendering = Rendering(make_tokenizer(CHATML), 130, "training_file")
    row = {"messages": [QUESTION, HELLO, QUESTION]}
    list(rendering.render((line, row) for line in range(1, 501)))
    ((message, data),) = rendering.warnings()
    assert message.startswith(
        "training_file: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 490 more are longer than 130 tokens"
    )
    assert data == {"code": "row_cut", "count": 500, "lines": list(range(1, 101))}


def test_a_warning_about_one_row_speaks_of_one() -> None:
    rendering = Rendering(make_tokenizer(CHATML), 130, "training_file")
    list(rendering.render([(7, {"messages": [QUESTION, HELLO, QUESTION]})]))
    ((message, _),) = rendering.warnings()
    assert message == "training_file: line 7 is longer than 130 tokens and was cut"
    (found,) = rendering.findings()
    assert found.message == "row is longer than 130 tokens and was cut"


def test_rows_that_do_not_invoke_the_adapter_are_counted_and_named() -> None:
    tokenizer = make_tokenizer(CHATML)
    shop = tokenizer("shop", add_special_tokens=False)["input_ids"]
    rows = [(7, {"messages": [QUESTION, ANSWER]}), (8, {"messages": [QUESTION, HELLO]})]
    rendering = Rendering(tokenizer, 1000, "training_file", invocation=shop)
    assert len(list(rendering.render(rows))) == 2
    ((message, data),) = rendering.warnings()
    assert message.startswith("training_file: line 8 without alora_invocation_tokens")
    assert data == {"code": "not_invoked", "count": 1, "lines": [8]}
    assert [found.code for found in rendering.findings()] == ["not_invoked"]


def test_rows_of_which_none_invokes_the_adapter_are_refused() -> None:
    rendering = Rendering(make_tokenizer(CHATML), 1000, "training_file", invocation=[0, 0, 0])
    with pytest.raises(
        JobError, match=r"No row has the tokens of adapter\.alora_invocation_tokens"
    ) as raised:
        list(rendering.render([(7, {"messages": [QUESTION, ANSWER]})]))
    assert (raised.value.code, raised.value.param) == ("nothing_to_learn", "training_file")


def test_rows_that_were_not_cut_or_skipped_cause_no_warning() -> None:
    rendering = Rendering(make_tokenizer(CHATML), 1000, "training_file")
    list(rendering.render([(7, {"messages": [QUESTION, ANSWER]})]))
    assert rendering.warnings() == []


class Counting:
    """A tokenizer that counts the messages of each rendering."""

    def __init__(self) -> None:
        self._tokenizer = make_tokenizer(CHATML)
        self.messages: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._tokenizer(*args, **options)

    def apply_chat_template(self, messages: list[Any], **options: Any) -> Any:
        self.messages.append(len(messages))
        return self._tokenizer.apply_chat_template(messages, **options)


def test_what_lies_behind_the_cut_is_rendered_once() -> None:
    tokenizer, pairs = Counting(), 500
    long_row = {"messages": [QUESTION, HELLO] * pairs}
    (whole,) = render(tokenizer, {"messages": [QUESTION, HELLO] * 10}, 10_000)
    tokenizer.messages.clear()
    (row,) = render(tokenizer, long_row, 512)
    assert np.array_equal(row.learnt_L, whole.learnt_L[:512])
    assert row.learnt_L.sum() > 0
    assert tokenizer.messages[0] == 2 * pairs
    assert max(tokenizer.messages[1:]) <= 20


# Weights, pairs and labels


def test_an_answer_is_learnt_by_its_weight() -> None:
    messages = (QUESTION, {**ANSWER, "weight": 0.25}, QUESTION, HELLO)
    (row,) = render_one(CHATML, *messages)
    assert row.weights_L is not None
    assert set(row.weights_L[row.learnt_L].tolist()) == {0.25, 1.0}
    assert row.weight == pytest.approx(0.25 * len("A shop assistant.<|im_end|>") + len("Hello!<|im_end|>"))
    (plain,) = render_one(CHATML, QUESTION, {**ANSWER, "weight": 1.0}, QUESTION, {**HELLO, "weight": 0})
    assert (plain.weights_L, plain.weight) == (None, plain.supervised)


PAIR = {"input": {"messages": [QUESTION, HELLO, QUESTION]}, "preferred_output": [ANSWER]}
PAIR["non_preferred_output"] = [HELLO]


def test_of_a_pair_both_answers_are_rows_that_learn_nothing_else() -> None:
    rows = render(make_tokenizer(CHATML), PAIR, kind="preference")
    assert [(row.line, row.desirable) for row in rows] == [(7, True), (7, False)]
    assert [row.supervised for row in rows] == [len("A shop assistant.<|im_end|>"), len("Hello!<|im_end|>")]
    prompt = len(rows[0].tokens_L) - 1 - rows[0].supervised  # a line end follows the turn
    assert np.array_equal(rows[0].tokens_L[:prompt], rows[1].tokens_L[:prompt])


def test_a_pair_with_one_answer_behind_the_cut_is_skipped_as_a_whole() -> None:
    longer = {**PAIR, "preferred_output": [{**ANSWER, "content": "No."}]}
    longer["input"] = {"messages": [QUESTION]}
    limit = len(render(make_tokenizer(CHATML), longer, kind="preference")[0].tokens_L)
    rendering = Rendering(make_tokenizer(CHATML), limit, "training_file", "preference")
    rows = list(rendering.render([(1, longer), (2, PAIR)]))
    assert ({row.line for row in rows}, rendering.skipped.first) == ({1}, [2])
    assert rendering.cut.first == [1, 2], "once each"


def test_of_a_labelled_row_the_last_answer_is_learnt() -> None:
    row = {"messages": [QUESTION, ANSWER, QUESTION, HELLO], "label": False}
    (found,) = render(make_tokenizer(CHATML), row, kind="labelled")
    assert (found.supervised, found.desirable) == (len("Hello!<|im_end|>"), False)
