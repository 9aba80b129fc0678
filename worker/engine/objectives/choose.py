"""From a job's specification to the loss of its objective."""

from importlib import import_module

from core.jobs.spec import JobSpec
from core.objectives.supervised import Supervised
from worker.engine.objectives.objective import ObjectiveLoss


def objective_of(spec: JobSpec) -> ObjectiveLoss | None:
    """Return the loss of the job's objective. None stands for the cross-entropy of the rows."""
    if isinstance(spec.objective, Supervised):
        return None
    loss: type[ObjectiveLoss] = import_module(f"worker.engine.objectives.{spec.objective.type}").LOSS
    return loss(spec.objective)
