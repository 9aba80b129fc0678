"""Rows that are held out: how many, of which answers, and with their near duplicates."""

from collections import Counter

import pytest

from core.datasets.kinds import Kind
from worker.rendering.preparation.splitting import HeldOut, RowsToSplit

WORDS = [
    "river",
    "engine",
    "paper",
    "winter",
    "yellow",
    "copper",
    "garden",
    "silent",
    "market",
    "bridge",
    "pocket",
    "lemon",
]


def text(number: int) -> str:
    """Return a text of ten words that has little in common with those of other numbers."""
    return " ".join(f"{word}{(number * 7919 + place * 104729) % 99991}" for place, word in enumerate(WORDS))


def chat(question: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def split(rows: list[dict[str, object]], wanted: int, seed: int = 0, kind: Kind = "chat") -> HeldOut:
    to_split = RowsToSplit(kind)
    for line, row in enumerate(rows, 1):
        to_split.add(line, row)
    return to_split.hold_out(wanted, seed)


def test_near_duplicates_and_what_they_resemble_stay_on_one_side() -> None:
    rows = [chat(f"{text(group)} {copy}", text(1000 + group)) for copy in range(4) for group in range(25)]
    found = split(rows, 20)
    assert found.rows.sum() == 20
    assert not found.all_alike
    sides = [{bool(found.rows[group + 25 * copy]) for copy in range(4)} for group in range(25)]
    assert all(len(side) == 1 for side in sides)


def test_few_answers_are_held_out_in_proportion() -> None:
    rows = [chat(text(number), "yes" if number % 10 else "no") for number in range(200)]
    found = split(rows, 20)
    held = Counter(rows[place]["messages"][1]["content"] for place in found.rows.nonzero()[0])  # type: ignore[index]
    assert found.answers == 2
    assert held == {"yes": 18, "no": 2}


def test_the_seed_decides_and_alone() -> None:
    rows = [chat(text(number), text(500 + number)) for number in range(60)]
    assert split(rows, 12, seed=1).rows.tolist() == split(rows, 12, seed=1).rows.tolist()
    assert split(rows, 12, seed=1).rows.tolist() != split(rows, 12, seed=2).rows.tolist()


def test_rows_of_one_template_are_split_all_the_same_but_equal_rows_stay_together() -> None:
    template = " ".join(text(1).split() * 3)
    rows = [chat(f"{template} {number // 2}", "ok then") for number in range(40)]
    found = split(rows, 10)
    assert found.all_alike
    assert found.rows.sum() == 10
    assert found.rows[::2].tolist() == found.rows[1::2].tolist()


@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_no_more_rows_are_held_out_than_asked_for(wanted: int) -> None:
    rows = [chat(f"{text(number // 3)} {number}", text(900 + number // 3)) for number in range(60)]
    assert split(rows, wanted).rows.sum() <= wanted


@pytest.mark.parametrize("all_alike", [False, True])
def test_equal_prompts_stay_on_one_side_whatever_their_graders_read(all_alike: bool) -> None:
    def asked(number: int) -> str:
        return f"{text(0)} {number}" if all_alike else text(number)

    rows: list[dict[str, object]] = [
        {"messages": [{"role": "user", "content": asked(number)}], "copy": copy}
        for copy in range(4)
        for number in range(25)
    ]
    found = split(rows, 20, kind="prompt")
    assert (int(found.rows.sum()), found.answers, found.all_alike) == (20, None, all_alike)
    sides = [{bool(found.rows[number + 25 * copy]) for copy in range(4)} for number in range(25)]
    assert all(len(side) == 1 for side in sides)
