"""Finds the tokens that invoke an adapter (aLoRA: Greenewald et al. 2025, arXiv:2504.12397)."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def invoked_at(tokens_L: NDArray[np.int32] | Sequence[int], invocation: Sequence[int]) -> int | None:
    """Return where the last occurrence of the invocation begins, as in PEFT; None if there is none."""
    if not invocation:
        return 0
    if len(tokens_L) < len(invocation):
        return None
    found = np.flatnonzero((sliding_window_view(np.asarray(tokens_L), len(invocation)) == invocation).all(1))
    return int(found[-1]) if len(found) else None
