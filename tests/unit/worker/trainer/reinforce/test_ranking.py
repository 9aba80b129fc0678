"""Which validations are the three best, of which clients get checkpoints."""

import json
from dataclasses import asdict
from math import inf, nan

from worker.trainer.reinforce.ranking import Ranking


def after(losses: dict[int, float]) -> Ranking:
    ranking = Ranking()
    for step, loss in losses.items():
        ranking.note(step, loss)
    return ranking


def test_the_three_lowest_losses_are_ranked_the_best_one_first() -> None:
    assert after({4: -0.1, 8: -0.4}).steps == [8, 4]
    assert after({4: -0.1, 8: -0.4, 12: -0.2, 16: -0.3, 20: 0.0}).steps == [8, 16, 12]


def test_of_equal_losses_the_earlier_one_is_better() -> None:
    assert after({4: -0.5, 8: -0.5, 12: -0.5, 16: -0.5}).steps == [4, 8, 12]
    assert after({8: -0.1, 10: -0.5, 12: -0.1, 16: -0.1}).steps == [10, 8, 12]


def test_neither_an_unknown_loss_nor_the_model_that_the_job_begins_with_is_ranked() -> None:
    assert after({0: -1.0, 4: nan, 8: -0.1, 12: inf}).steps == [8]


def test_a_checkpoint_has_all_of_it() -> None:
    ranking = after({4: -0.1, 8: -0.4, 12: -0.2})
    kept = Ranking(**json.loads(json.dumps(asdict(ranking))))
    for each in (ranking, kept):
        each.note(16, -0.3)
    assert kept == ranking
    assert kept.steps == [8, 16, 12]
