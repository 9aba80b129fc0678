"""From a job's specification to the loss of its objective, and to the rows from which it is computed."""

from collections.abc import Sequence
from importlib import import_module

from core.jobs.spec import JobSpec
from core.objectives.supervised import Supervised
from worker.objectives.objective import ObjectiveLoss
from worker.rows import Row


def objective_of(spec: JobSpec) -> ObjectiveLoss | None:
    """Return the loss of the job's objective. None stands for the cross-entropy of the rows."""
    if isinstance(spec.objective, Supervised):
        return None
    loss: type[ObjectiveLoss] = import_module(f"worker.objectives.{spec.objective.type}").LOSS
    return loss(spec.objective)


def rows_for(spec: JobSpec, rendered: Sequence[Row], max_length: int) -> list[Row]:
    """Return the rows that the job trains on, those of each example side by side."""
    objective = objective_of(spec)
    return list(rendered) if objective is None else objective.arrange(rendered, spec.seed, max_length)
