"""Each objective finds its loss in the module of its name, and reinforcement that of its policy loss."""

import pytest

from core.jobs.spec import Hyperparameters, JobSpec
from core.objectives.objective import Objective, ObjectiveOptions
from core.objectives.policy_losses import NAMES
from core.objectives.policy_losses.registry import POLICY_LOSSES
from core.objectives.registry import OBJECTIVES
from core.objectives.supervised import Supervised
from tests.fixtures.engine.rollouts import LOSSES, reinforcement
from worker.engine.objectives.choose import objective_of, policy_loss_of
from worker.engine.objectives.objective import ObjectiveLoss

NUMBERS = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)


OWN = [each for name, each in OBJECTIVES.items() if name != "supervised" and not each.samples_answers]


def spec_of(options: ObjectiveOptions) -> JobSpec:
    return JobSpec(base_model="a", seed=1, hyperparameters=NUMBERS, objective=options)


@pytest.mark.parametrize("objective", OWN, ids=lambda objective: objective.name)
def test_every_objective_that_compares_rows_has_a_loss(objective: Objective) -> None:
    spec = spec_of(objective.options())
    loss = objective_of(spec)
    assert isinstance(loss, ObjectiveLoss)
    assert type(loss).__module__ == f"worker.engine.objectives.{objective.name}"
    assert loss.rows == 2  # a pair of answers, or an answer and its companion
    assert policy_loss_of(spec) is None


def test_supervised_jobs_have_the_cross_entropy_alone() -> None:
    spec = spec_of(Supervised())
    assert objective_of(spec) is None
    assert policy_loss_of(spec) is None


def test_every_policy_loss_on_offer_is_described_and_computed() -> None:
    assert tuple(POLICY_LOSSES) == NAMES == LOSSES
    for name in NAMES:
        spec = spec_of(reinforcement(name))
        loss = policy_loss_of(spec)
        assert type(loss).__module__ == f"worker.engine.objectives.policy.{name}"
        assert objective_of(spec) is None
