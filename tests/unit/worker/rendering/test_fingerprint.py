"""A checkpoint is continued only if everything that the next step depends on is as it was."""

from typing import Any

import numpy as np
import pytest
import torch

from worker.rendering.fingerprint import Fingerprint, beginning
from worker.rows.row import Row


def taken(
    seed: int = 1,
    weights: str = "a hash",
    quantization: str | None = None,
    dtype: torch.dtype = torch.float32,
    tokens: tuple[int, ...] = (5, 6, 7),
    learnt: tuple[bool, ...] = (False, True, True),
    of_messages: tuple[float, ...] | None = None,
    desirable: bool = True,
) -> str:
    weights_L = None if of_messages is None else np.array(of_messages, np.float32)
    row = Row(1, np.array(tokens, np.int32), np.array(learnt), weights_L, desirable)
    fingerprint = Fingerprint(beginning({"seed": seed}, weights, quantization, str(dtype)))
    assert list(fingerprint.over([row])) == [row]
    return fingerprint.value


def test_it_is_the_same_where_nothing_has_changed() -> None:
    assert taken() == taken()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"weights": "another hash"},
        {"quantization": "nf4"},
        {"dtype": torch.bfloat16},
        {"tokens": (5, 6, 8)},
        {"learnt": (False, False, True)},
        {"of_messages": (0.0, 0.5, 1.0)},
        {"desirable": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_it_differs_where_the_next_step_might(change: dict[str, Any]) -> None:
    assert taken(**change) != taken()
