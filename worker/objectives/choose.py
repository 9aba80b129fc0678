"""From a job's specification to its objective and the rows that this is computed from."""

from collections.abc import Sequence
from typing import assert_never

from core.jobs import spec as jobspec
from worker.objectives.dpo import Dpo
from worker.objectives.kto import Kto, with_companions
from worker.objectives.objective import Objective
from worker.objectives.orpo import Orpo
from worker.objectives.simpo import Simpo
from worker.rows import Row


def objective_of(spec: jobspec.JobSpec) -> Objective | None:
    """None stands for the cross-entropy of the rows."""
    match spec.objective:
        case jobspec.Supervised():
            return None
        case jobspec.Dpo():
            return Dpo(spec.objective)
        case jobspec.Orpo():
            return Orpo(spec.objective)
        case jobspec.Kto():
            return Kto(spec.objective)
        case jobspec.Simpo():
            return Simpo(spec.objective)
        case other:
            assert_never(other)


def rows_for(spec: jobspec.JobSpec, rendered: Sequence[Row], max_length: int) -> list[Row]:
    """The rows of each example side by side. Pairs come so from the file; KTO adds companions."""
    if isinstance(spec.objective, jobspec.Kto):
        return with_companions(rendered, spec.seed, max_length)
    return list(rendered)
