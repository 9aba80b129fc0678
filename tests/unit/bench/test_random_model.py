"""The comparisons with PEFT on random weights run, and both sides compute the same rows."""

from collections.abc import Callable
from typing import Any

import pytest
from transformers import PretrainedConfig

from bench import answers
from bench.random_model import Trainers
from tests.fixtures.engine.architectures import STATES, WITH_EXPERTS

pytestmark = pytest.mark.slow
ALL_LINEAR = {"target_modules": "all-linear"}
ON_EXPERTS = {
    "target_modules": ["q_proj"],
    "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
}


@pytest.mark.parametrize(
    ("make", "targets"),
    [
        (WITH_EXPERTS["qwen 3 moe"], ON_EXPERTS),
        (STATES["qwen 3.5, delta rule"], ALL_LINEAR),
    ],
    ids=["experts", "states"],
)
def test_rates_of_all_trainers_are_printed(
    make: Callable[[], PretrainedConfig], targets: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Trainers(make(), **targets).print_rates(vocabulary=300, turns=1)
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line[:1] == "|"][2:]
    assert [row[0].strip() for row in table] == ["eight, unlike", "eight behind one prompt"]
    for row in table:
        rates, times = [float(cell) for cell in row[1:4]], float(row[4])
        assert times == pytest.approx(rates[0] / max(rates[1:]), rel=0.05)


@pytest.mark.exhaustive
def test_rates_of_chats_at_once_and_one_by_one_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    answers.print_rates(WITH_EXPERTS["qwen 3 moe"](), turns=1)
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line[:1] == "|"][2:]
    assert len(table) == 3
    for row in table:
        alone, together, times = map(float, row[1:])
        assert times == pytest.approx(together / alone, rel=0.05)
