"""Variants of rows: each kind does what it says, and no kind changes what the assistant says."""

import time
from typing import Any

import msgspec
import pytest

from core.datasets.preparation.requests import Augmentation
from core.datasets.row_check import RowCheck
from worker.rendering.preparation.variants import Variants

Row = dict[str, Any]
SYSTEM = {"role": "system", "content": "You are a careful assistant."}
LABELS = ["positive", "negative", "very mixed"]


def turn(number: int) -> list[Row]:
    question = {
        "role": "user",
        "content": f"Review number {number}: wonderful, positive/negative/very mixed?",
    }
    return [question, {"role": "assistant", "content": f"positive {number}"}]


CHAT: Row = {"messages": [SYSTEM, *turn(1), *turn(2), *turn(3), *turn(4)]}
ANSWER = {"role": "assistant", "content": "Quite Positive, really."}
ROWS: dict[str, Row] = {
    "chat": CHAT,
    "preference": {
        "input": {"messages": CHAT["messages"][:-1]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{**ANSWER, "content": "no"}],
    },
    "labelled": {"messages": [*CHAT["messages"][:-1], ANSWER], "label": True},
    "prompt": {"messages": CHAT["messages"][:-1], "answer": "positive 4"},
}
KINDS: dict[str, Row] = {
    "few_shot_order": {"few_shot_order": True},
    "typing_noise": {"typing_noise": 0.2},
    "user_case": {"user_case": True},
    "system_prompts": {"system_prompts": ["Be brief.", "Answer kindly."]},
    "label_order": {"label_order": LABELS},
}


def variants(row: Row, kind: str = "chat", line: int = 1, seed: int = 5, **asked: Any) -> list[Row]:
    return list(Variants(Augmentation(copies=4, **asked), kind, seed).of(line, row))  # type: ignore[arg-type]


def said(row: Row, role: str) -> list[Row]:
    messages = row.get("messages") or row["input"]["messages"]
    return [message for message in messages if message["role"] == role]


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("asked", KINDS.values(), ids=KINDS)
def test_variants_are_rows_of_the_same_kind_with_the_same_answers(kind: str, asked: Row) -> None:
    row = ROWS[kind]
    found = variants(row, kind, **asked)
    assert found
    for variant in found:
        assert variant != row
        assert sorted(map(str, said(variant, "assistant"))) == sorted(map(str, said(row, "assistant")))
        others = {key: value for key, value in variant.items() if key not in ("messages", "input")}
        assert others == {key: value for key, value in row.items() if key not in ("messages", "input")}
        check = RowCheck()
        assert not check.findings(msgspec.json.encode(variant))
        assert check.kind == kind


def test_examples_change_their_order_and_the_last_turn_stays() -> None:
    for variant in variants(CHAT, few_shot_order=True):
        messages = variant["messages"]
        assert messages[0] == SYSTEM
        assert messages[-2:] == turn(4)
        pairs = [messages[at : at + 2] for at in range(1, 7, 2)]
        assert sorted(pairs, key=str) == [turn(1), turn(2), turn(3)]


def test_typing_mistakes_spare_short_words_numbers_and_labels() -> None:
    text = "Is it a positive or a very mixed message about umbrellas in 1984? "
    row = {"messages": [{"role": "user", "content": text * 20}, ANSWER]}
    for variant in variants(row, typing_noise=0.2, label_order=LABELS):
        written = said(variant, "user")[0]["content"]
        assert written.count("1984") == written.count("positive") == written.count("very mixed") == 20
        changed = sum(one != other for one, other in zip(written.split(), (text * 20).split(), strict=True))
        assert 2 <= changed <= 25


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Choose: positive, negative, or very mixed.", "Choose: very mixed, negative, or positive."),
        ('"Positive" or "negative"?', '"negative" or "Positive"?'),
        ("- positive\n- negative\n", "- negative\n- positive\n"),
        ("positive \r\n\n * negative", "negative \r\n\n * positive"),
        ("A) positive\nB) negative", "A) positive\nB) negative"),
        ("positively negative", "positively negative"),
    ],
)
def test_labels_side_by_side_are_listed_backwards_and_others_stay(before: str, after: str) -> None:
    row = {"messages": [{"role": "user", "content": before}, ANSWER]}
    found = [said(variant, "user")[0]["content"] for variant in variants(row, label_order=LABELS)]
    assert found == ([] if before == after else [after])


def test_a_long_gap_after_a_label_takes_time_in_proportion_to_its_length() -> None:
    gaps = ["positive" + gap * 1000 for gap in ("\n", " ", "*", "\n*", " \n ")]
    row = {"messages": [{"role": "user", "content": "!".join(gaps)}, ANSWER]}
    began = time.process_time()
    assert variants(row, label_order=LABELS) == []
    assert time.process_time() - began < 1  # a hundredth of it, or minutes if the gap's parts are tried out


def test_a_system_prompt_takes_the_place_of_the_rows_own_or_comes_first() -> None:
    prompts = {"Be brief.", "Answer kindly."}
    bare = {"messages": CHAT["messages"][1:]}
    for row, length in ((CHAT, 9), (bare, 9)):
        found = variants(row, system_prompts=sorted(prompts))
        assert {said(variant, "system")[0]["content"] for variant in found} <= prompts
        assert all(len(variant["messages"]) == length for variant in found)


@pytest.mark.parametrize("other", ["a text", ["x"], [turn(9)[0]]])
def test_a_key_that_is_ignored_is_neither_read_nor_varied(other: Any) -> None:
    for kind, key in (("chat", "prompt"), ("preference", "prompt"), ("preference", "messages")):
        plain = variants(ROWS[kind], kind, user_case=True)
        assert variants({**ROWS[kind], key: other}, kind, user_case=True) == [
            {**variant, key: other} for variant in plain
        ]


def test_draws_depend_on_the_seed_and_the_line_alone() -> None:
    asked: Row = {"typing_noise": 0.2, "user_case": True}
    assert variants(CHAT, **asked) == variants(CHAT, **asked)
    assert variants(CHAT, **asked) != variants(CHAT, seed=6, **asked)
    assert variants(CHAT, **asked) != variants(CHAT, line=2, **asked)
