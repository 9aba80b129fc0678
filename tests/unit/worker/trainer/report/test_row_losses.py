"""The rows whose losses are measured lie evenly among all, and fit the memory."""

import numpy as np

from worker.trainer.report.row_losses import evenly_chosen


def test_rows_are_chosen_evenly_and_have_together_no_more_tokens_than_allowed() -> None:
    lengths = np.full(100, 10, np.int64)
    assert evenly_chosen(lengths, 4, 40).tolist() == [0, 25, 50, 75]
    assert evenly_chosen(lengths, 100, 300).tolist() == list(range(0, 100, 4))
    assert evenly_chosen(lengths, 100, 5).tolist() == []
    assert evenly_chosen(lengths[:0], 4, 40).tolist() == []
