"""The rows that a job trains on and holds out: what is remembered of them is true of the new files."""

import io
import json
from typing import Any

import pytest

from core.datasets.preparation.requests import Augmentation, Preparation
from core.datasets.template_needs import needs_of
from tests.fixtures.rows.tool_rows import tool_row
from worker.rendering.preparation.preparing import prepare

PLAIN = 40


def chat(number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"{number} and then {number**3 + 7919 * number} again"},
            {"role": "assistant", "content": f"answer {number**2}"},
        ]
    }


@pytest.mark.parametrize("at", [0, 20, PLAIN])
def test_the_needs_of_prepared_files_name_their_own_lines(at: int) -> None:
    rows = list(map(chat, range(PLAIN)))
    rows.insert(at, tool_row())
    lines = [(number, json.dumps(row).encode()) for number, row in enumerate(rows, 1)]
    training, held = io.BytesIO(), io.BytesIO()
    asked = Preparation(
        validation_split=0.25, augmentation=Augmentation(copies=2, system_prompts=["Be brief."])
    )
    prepared = prepare(lambda: iter(lines), "chat", asked, 3, training, held)
    for content, told in ((training, prepared.training), (held, prepared.validation)):
        written = content.getvalue().splitlines()
        needing = [n for n, line in enumerate(written, 1) if needs_of(json.loads(line), "chat")]
        assert told.needs == ({"tools": needing[0]} if needing else {})
        assert told.longest_line == max(map(len, written))
        assert told.count == len(written)
    assert prepared.training.needs or prepared.validation.needs


def test_prompts_are_held_out_and_varied_with_the_values_for_their_graders() -> None:
    rows = [{"messages": chat(number)["messages"][:1], "sum": number} for number in range(PLAIN)]
    lines = [(number, json.dumps(row).encode()) for number, row in enumerate(rows, 1)]
    training, held = io.BytesIO(), io.BytesIO()
    asked = Preparation(validation_split=0.25, augmentation=Augmentation(system_prompts=["Be brief."]))
    prepared = prepare(lambda: iter(lines), "prompt", asked, 3, training, held)
    trained, held_out = (list(map(json.loads, file.getvalue().splitlines())) for file in (training, held))
    assert (prepared.validation.count, prepared.augmented_rows, prepared.answers) == (10, 30, None)
    assert all(row in rows for row in held_out)
    for row, variant in zip(trained[::2], trained[1::2], strict=True):
        assert row in rows
        assert variant == {**row, "messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]}
