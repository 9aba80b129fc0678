"""A rehearsal computes the longest step and evaluation, and leaves no trace in the job."""

from typing import Any

import numpy as np
import pytest
import torch

from core.jobs.spec import Hyperparameters, LoraAdapter
from core.methods.low_rank import AdaLoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.objectives.supervised import Supervised
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import MAX_TOKENS, make_spec, make_trainee, train
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.passes import Abandoned
from worker.engine.step.rehearsal import (
    computed_share,
    longest_rows,
    longest_step,
    rehearse_evaluation,
    rehearse_step,
)
from worker.rows.row import Row
from worker.rows.row_store import lengths_of, store_rows

ADAPTERS = {
    "dropout": LoraAdapter(r=4, lora_dropout=0.2),
    "dynamic rank": LoraAdapter(r=4, dynamic_rank=True),
    "rank budget": AdaLoraAdapter(init_r=4, target_r=2, tinit=1, tfinal=1),
}
CASES = [
    *((adapter, Supervised()) for adapter in ADAPTERS),
    ("dropout", Dpo()),
    ("dropout", Kto()),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("adapter", "objective"), CASES, ids=lambda each: getattr(each, "type", each))
def test_a_job_that_has_rehearsed_ends_with_the_same_bits(
    base: ResidentBase, adapter: str, objective: Any
) -> None:
    spec = make_spec(adapter=ADAPTERS[adapter], objective=objective)
    rows = rows_of(spec, 12)
    found = []
    for rehearse in (False, True):
        trainee = make_trainee(base, "job", spec, rows)
        context = PassContext(base, MAX_TOKENS)
        if rehearse:
            rehearse_step(context, [trainee], longest_step(trainee, MAX_TOKENS))
            rehearse_evaluation(context, trainee, rows_of(spec, 8, seed=5))
            assert trainee.step == 0
        losses = train(base, [trainee], 4)["job"]
        found.append((losses, {name: tensor.clone() for name, tensor in trainee.state().items()}))
    (plain, before), (rehearsed, after) = found
    assert plain == rehearsed
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_step_with_the_largest_micro_batch_and_then_the_longest_row_is_rehearsed(
    base: ResidentBase,
) -> None:
    spec = make_spec(hyperparameters=Hyperparameters(n_epochs=2, batch_size=4, learning_rate_multiplier=1.0))
    rows = make_rows(30, 2)
    trainee = make_trainee(base, "job", spec, rows)
    for step_tokens in (16, MAX_TOKENS, 10_000):
        chosen = longest_step(trainee, step_tokens)

        def size(step: int, limit: int = step_tokens) -> tuple[int, int, int]:
            lengths = [len(row.tokens_L) for row in trainee.rows_after(step)]
            return max(min(sum(lengths), limit), max(lengths)), max(lengths), sum(lengths)

        assert size(chosen) == max(map(size, range(trainee.steps_per_epoch)))


def test_what_was_rehearsed_is_told(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    found = rehearse_step(PassContext(base, MAX_TOKENS), [trainee], 1)
    rows = trainee.rows_after(1)
    assert found.tokens == sum(len(row.tokens_L) for row in rows)
    assert found.longest_row == max(len(row.tokens_L) for row in rows) <= found.micro_batch <= MAX_TOKENS
    assert 0 < found.supervised < 1
    assert found.bytes >= 0


def test_an_evaluation_takes_the_longest_examples_that_fill_a_micro_batch() -> None:
    rows = [
        Row(line, np.zeros(length, np.int32), np.ones(length, bool))
        for line, length in enumerate([9, 40, 20, 30])
    ]
    assert [len(row.tokens_L) for row in longest_rows(rows, 1, 64)] == [40, 30]
    assert [len(row.tokens_L) for row in longest_rows(rows, 1, 8)] == [40]
    assert [len(row.tokens_L) for row in longest_rows(rows, 2, 8)] == [20, 30], "a pair stays whole"
    assert len(longest_rows(rows, 1, 10_000)) == 4


def test_an_abandoned_rehearsal_leaves_the_job_at_its_beginning(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    with pytest.raises(Abandoned):
        rehearse_step(PassContext(base, MAX_TOKENS, abandon=lambda: True), [trainee], 2)
    assert trainee.step == 0
    assert not trainee.adapter.parameters.gradient.any()


@pytest.mark.parametrize("objective", [Supervised(), Dpo()], ids=lambda each: each.type)
def test_a_job_that_is_saved_amid_a_rehearsal_is_saved_at_its_beginning(
    base: ResidentBase, objective: Any
) -> None:
    spec = make_spec(objective=objective)
    trainee = make_trainee(base, "job", spec, rows_of(spec, 12))
    before = {name: tensor.clone() for name, tensor in trainee.state().items()}
    steps: list[int] = []

    def look() -> bool:
        steps.append(trainee.step)
        assert all(torch.equal(tensor, before[name]) for name, tensor in trainee.state().items())
        return False

    rehearse_step(PassContext(base, MAX_TOKENS, abandon=look), [trainee], 5)
    assert len(steps) > 1
    assert {*steps} == {0}


def test_a_beginning_that_rows_share_is_computed_once(base: ResidentBase) -> None:
    whole = Hyperparameters(n_epochs=1, batch_size=8, learning_rate_multiplier=1.0)
    trainee = make_trainee(base, "job", make_spec(hyperparameters=whole), shared_rows())
    assert computed_share(trainee, 10_000) < 0.8
    apart = make_trainee(base, "other", make_spec(), make_rows(12, 0))
    assert computed_share(apart, 10_000) == 1.0


def test_a_store_knows_the_lengths_of_its_rows() -> None:
    rows = make_rows(9, 4)
    store = store_rows(rows)
    lengths = [len(row.tokens_L) for row in rows]
    assert lengths_of(store).tolist() == lengths_of(rows).tolist() == lengths
    assert store.summary.squares == sum(length**2 for length in lengths)
    assert store.summary.longest_row == max(lengths)
