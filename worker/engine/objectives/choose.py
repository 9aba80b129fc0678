"""From a job's specification to the loss of its objective."""

from importlib import import_module

from core.jobs.spec import JobSpec
from core.objectives.sampling import SamplingOptions
from core.objectives.supervised import Supervised
from worker.engine.objectives.objective import ObjectiveLoss
from worker.engine.objectives.policy.policy_loss import PolicyLoss


def objective_of(spec: JobSpec) -> ObjectiveLoss | None:
    """Return the loss of the job's objective, if it is a function of the log-probabilities of whole rows.

    None stands for the cross-entropy of the rows, or for a policy loss.
    """
    if isinstance(spec.objective, Supervised | SamplingOptions):
        return None
    loss: type[ObjectiveLoss] = import_module(f"worker.engine.objectives.{spec.objective.type}").LOSS
    return loss(spec.objective)


def policy_loss_of(spec: JobSpec) -> PolicyLoss | None:
    """Return the loss of a job that samples its answers, or None for another job."""
    if not isinstance(spec.objective, SamplingOptions):
        return None
    name = f"worker.engine.objectives.policy.{spec.objective.loss_type}"
    loss: type[PolicyLoss] = import_module(name).LOSS
    return loss(spec.objective)
