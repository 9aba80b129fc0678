"""Each objective finds its loss in the module of its name."""

import pytest

from core.jobs.spec import Hyperparameters, JobSpec
from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES
from worker.engine.objectives.choose import objective_of
from worker.engine.objectives.objective import ObjectiveLoss

NUMBERS = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_but_supervised_has_a_loss(objective: Objective) -> None:
    spec = JobSpec(base_model="a", seed=1, hyperparameters=NUMBERS, objective=objective.options())
    loss = objective_of(spec)
    if objective.name == "supervised":
        assert loss is None
    else:
        assert isinstance(loss, ObjectiveLoss)
        assert type(loss).__module__ == f"worker.engine.objectives.{objective.name}"
        assert loss.rows == 2  # a pair of answers, or an answer and its companion
