"""Prompts as tokens: what a server would be asked, whole or not at all, with nothing learnt."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from core.catalog import SMOLLM2
from core.errors import JobError
from core.serving.schemas.chat import ChatRequest
from core.settings import Settings
from tests.fixtures.models.templates import CHAT, FAMILIES, bytes_with
from tests.fixtures.rows.rendering import make_tokenizer
from tests.fixtures.rows.tool_rows import RAIN_TOOL
from worker.base_models.model_store import ensure_tokenizer
from worker.dataset_checks.all_rows.columns import RowLengths
from worker.rendering.previews import lengths_of, preview_of
from worker.rendering.render import Rendering
from worker.rows.row_store import store_rows
from worker.server.answering.prompts import chat_prompt
from worker.server.sampling.longest_token import Room

TEMPLATE, SPECIAL, _ = FAMILIES["chatml"]
PROMPT = {"messages": CHAT[:1], "answer": "Bye"}
TEXT = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi, Zoë<|im_end|>\n<|im_start|>assistant\n"
LONG = {"messages": [{"role": "user", "content": "x" * 200}]}
WITH_TOOLS = "{# tool_calls #}{% for each in tools or [] %}{{ each.function.name }};{% endfor %}" + TEMPLATE


def rendering(limit: int = 1000, **options: Any) -> Rendering:
    return Rendering(bytes_with(TEMPLATE, SPECIAL), limit, "training_file", "prompt", **options)


def test_a_prompt_ends_where_the_answer_begins_and_has_nothing_to_learn() -> None:
    tokenizer = bytes_with(TEMPLATE, SPECIAL)
    (row,) = Rendering(tokenizer, 1000, "training_file", "prompt").render([(7, PROMPT)])
    assert tokenizer.decode(row.tokens_L) == TEXT
    assert (row.line, row.supervised, row.weights_L) == (7, 0, None)
    assert not row.learnt_L.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_has_the_tokens_that_come_before_an_answer_in_a_chat_row(family: str) -> None:
    template, special, _ = FAMILIES[family]
    tokenizer = bytes_with(template, special)
    unlearnt = {"role": "assistant", "content": "Hello!", "weight": 0}
    chat_row = {"messages": [CHAT[0], unlearnt, *CHAT[2:]]}
    (chat,) = Rendering(tokenizer, 1000, None, "chat").render([(1, chat_row)])
    (prompt,) = Rendering(tokenizer, 1000, None, "prompt").render([(1, {"messages": CHAT[:3]})])
    text = tokenizer.decode(chat.tokens_L[: int(chat.learnt_L.argmax())])
    assert tokenizer.decode(prompt.tokens_L).rstrip(" ") == text.rstrip(" ")


def test_a_prompt_has_the_tokens_of_the_prompt_that_a_server_makes_of_its_messages() -> None:
    tokenizer = AutoTokenizer.from_pretrained(ensure_tokenizer(SMOLLM2, Settings().models_folder))
    (row,) = Rendering(tokenizer, 1000, "training_file", "prompt").render([(7, PROMPT)])
    asked = ChatRequest.model_validate({"model": SMOLLM2.id, "messages": PROMPT["messages"]})
    assert row.tokens_L.tolist() == chat_prompt(tokenizer, asked, Room(1000, None)).tokens


def test_the_template_gets_the_tools_of_a_prompt() -> None:
    tokenizer = make_tokenizer(WITH_TOOLS)
    row = {**PROMPT, "tools": [RAIN_TOOL]}
    (found,) = Rendering(tokenizer, 1000, "training_file", "prompt").render([(1, row)])
    assert tokenizer.decode(found.tokens_L).startswith(f"{RAIN_TOOL['function']['name']};")


def test_a_prompt_that_is_too_long_is_skipped_and_named_instead_of_cut() -> None:
    found = rendering(limit=100)
    assert [row.line for row in found.render([(7, PROMPT), (8, LONG)])] == [7]
    ((message, data),) = found.warnings()
    assert message.startswith("training_file: line 8 has more than 100 tokens and was skipped")
    assert data == {"code": "prompt_too_long", "count": 1, "lines": [8]}
    ((finding),) = found.findings()
    assert (finding.code, finding.mend) == ("prompt_too_long", "shorten them, or raise max_length")


def test_prompts_that_are_all_too_long_fail_the_job() -> None:
    with pytest.raises(JobError, match="Every prompt has more than max_length = 100 tokens") as raised:
        list(rendering(limit=100).render([(7, LONG)]))
    assert (raised.value.code, raised.value.param) == ("prompt_too_long", "training_file")


def test_prompts_without_the_adapters_invocation_are_counted() -> None:
    invocation = bytes_with(TEMPLATE, SPECIAL)("Zoë", add_special_tokens=False)["input_ids"]
    found = rendering(invocation=invocation)
    assert len(list(found.render([(7, PROMPT), (8, LONG)]))) == 2
    assert [data["lines"] for _, data in found.warnings()] == [[8]]


def test_stored_prompts_are_read_as_they_were_rendered() -> None:
    rows = list(rendering().render([(7, PROMPT), (9, LONG)]))
    store = store_rows(rows)
    assert (store.summary.rows, store.summary.supervised) == (2, 0)
    for found, row in zip(store, rows, strict=True):
        assert (found.line, found.tokens_L.tolist()) == (row.line, row.tokens_L.tolist())
        assert not found.learnt_L.any()


def test_a_prompt_is_shown_whole_and_without_learnt_tokens() -> None:
    looks = rendering()
    shown, lengths = preview_of(looks, (7, PROMPT)), lengths_of(looks, (7, PROMPT))
    assert shown.is_learnt
    (conversation,) = shown.conversations
    assert [(part.text, part.learnt) for part in conversation.segments] == [(TEXT, False)]
    assert (conversation.learnt_tokens, conversation.cut_tokens) == (0, 0)
    assert lengths == RowLengths(conversation.tokens, conversation.tokens, is_learnt=True)


def test_a_prompt_that_is_too_long_is_shown_as_left_out() -> None:
    looks = rendering(limit=100)
    shown, lengths = preview_of(looks, (7, LONG)), lengths_of(looks, (7, LONG))
    assert not shown.is_learnt
    assert shown.conversations[0].cut_tokens == lengths.tokens - 100 > 0
    assert not lengths.is_learnt
