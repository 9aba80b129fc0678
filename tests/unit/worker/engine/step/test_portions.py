"""A long evaluation reads its rows in portions, and finds what it finds in all rows at once."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from core.objectives.dpo import Dpo
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, make_spec, make_trainee, randomize
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch import grouping
from worker.engine.batch.grouping import JobRows
from worker.engine.step.context import PassContext
from worker.engine.step.loop import measure, validate
from worker.engine.step.passes import micro_batches
from worker.rows.row import Row


class CountedRows(Sequence[Row]):
    """Rows that count how many of them have been read."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.read = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        found = self.rows[index]
        self.read += len(found) if isinstance(index, slice) else 1
        return found


@pytest.mark.parametrize("at_once", [1, 5, 12])
@pytest.mark.parametrize("objective", [None, Dpo()], ids=["cross-entropy", "dpo"])
def test_portions_change_no_loss_and_no_score(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, objective: Dpo | None, at_once: int
) -> None:
    spec = make_spec(**({"objective": objective} if objective else {}))
    trainee = make_trainee(base, "job", spec, rows_of(spec, 6) if objective else make_rows(12, 0))
    randomize(trainee.adapter)
    context = PassContext(base, MAX_TOKENS)
    whole, scored = validate(context, trainee, trainee.rows), measure(context, trainee, trainee.rows)
    monkeypatch.setattr(grouping, "ROWS_AT_ONCE", at_once)
    in_portions, again = validate(context, trainee, trainee.rows), measure(context, trainee, trainee.rows)
    assert in_portions.loss == pytest.approx(whole.loss, rel=1e-5)
    assert in_portions.accuracy == whole.accuracy
    assert again.loss == pytest.approx(scored.loss, rel=1e-5)
    if scored.nll_X is not None:
        torch.testing.assert_close(torch.from_numpy(again.nll_X), torch.from_numpy(scored.nll_X))


def test_only_a_portion_of_the_rows_is_read_ahead(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "ROWS_AT_ONCE", 10)
    first, second = CountedRows(make_rows(24, 0)), CountedRows(make_rows(7, 1))
    batches = micro_batches(PassContext(base, 64), [JobRows("a", first, 1.0), JobRows("b", second, 1.0)])
    (batch,) = next(batches)
    numbers = batch.rows_S.tolist()
    assert (first.read, second.read) == (10, 0)
    for (batch,) in batches:
        numbers += batch.rows_S.tolist()
    assert (first.read, second.read) == (24, 7)
    assert set(numbers) == set(range(31))
