"""`docs/models.md` says which card trains which model with experts, as `tunery models add` judges it."""

from collections.abc import Iterator
from functools import cache

import pytest

from core.catalog import BaseModelEntry, Precision
from core.estimates.configuration import shape_of
from core.estimates.job.devices import gpu
from core.estimates.shapes import base_bytes
from core.offering.fits import fits_of
from core.units import GIB
from tests.fixtures.models.released import NAMES, released
from tests.fixtures.paths import REPOSITORY

CARDS = {16: 16_376, 24: 23_034, 40: 40_960, 48: 46_068, 80: 81_559, 141: 143_771}
"""MiB that nvidia-smi shows of a GeForce RTX 4080, an L4, an A100, an L40S, an H100 and an H200."""
PRECISIONS: dict[Precision, str] = {"none": "bf16", "int8": "int8", "nf4": "nf4"}
LENGTHS = 8192, 2048
ENTRY = BaseModelEntry(
    id="base", repository="a/b", source="hub", revision="1", license="MIT", max_length=LENGTHS[0]
)


@cache
def verdicts(name: str, length: int) -> dict[str, dict[Precision, str]]:
    cards = [gpu(str(size), mebibytes * 1024**2, 2) for size, mebibytes in CARDS.items()]
    return {
        fit.device: dict(fit.verdicts) for fit in fits_of(released(name), ENTRY, cards, length) if fit.here
    }


def longest(name: str, card: int, precision: Precision) -> str:
    fitting = (length for length in LENGTHS if verdicts(name, length)[str(card)][precision] != "does not fit")
    return next((f"{length:,}" for length in fitting), "–")


def rows() -> Iterator[str]:
    for name in NAMES:
        for precision, shown in PRECISIONS.items():
            shape = shape_of(released(name), 2, None if precision == "none" else precision)
            assert shape is not None
            cells = (longest(name, card, precision) for card in CARDS)
            yield f"| {name}, {shown} | {base_bytes(shape) / GIB:.1f} | {' | '.join(cells)} |"


def test_the_table_of_cards_is_what_the_estimates_say() -> None:
    table = "\n".join(rows())
    assert table in (REPOSITORY / "docs" / "models.md").read_text("utf-8"), f"the rows must be:\n{table}"


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("gpt-oss-20b", 20.9e9),
        ("Qwen3-30B-A3B", 30.5e9),
        ("Qwen3.5-35B-A3B", 35.1e9),
        ("Gemma 4 26B-A4B", 25.8e9),
    ],
)
def test_released_models_have_the_weights_that_their_publishers_name(name: str, weights: float) -> None:
    """Towers for images are counted too."""
    shape = shape_of(released(name), 2, None)
    assert shape is not None
    assert base_bytes(shape) / 2 == pytest.approx(weights, rel=0.005)
