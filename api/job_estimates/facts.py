"""What an estimate of a job follows from, beside the job's specification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.job_estimates.rows import Rows
from core.catalog import BaseModelEntry
from core.estimates.memory_plan import Recompute


@dataclass(frozen=True)
class Facts:
    """All that is known of a job's base model, its rows, and what other jobs and the operator say."""

    entry: BaseModelEntry
    """The base model, in the job's precision"""
    source: BaseModelEntry
    """The base model as the catalog has it"""
    configuration: Mapping[str, Any] | None
    """The base model's configuration; None if it is not on this machine"""
    training: Rows
    validation: Rows | None = None
    computed_share: float | None = None
    """Share of the tokens that are computed, because steps share beginnings; None if nobody has counted it"""
    rates: Sequence[float] = ()
    """Operations a second of past jobs of the base model on such a device, in the job's precision"""
    prices: Mapping[str, float] = field(default_factory=dict)
    """The operator's rates for an hour, by device"""
    currency: str = "USD"
    offered: tuple[Recompute, ...] = tuple(Recompute)
    """How much may be computed again, as the operator has set it"""
    step_tokens: int | None = None
    """The operator's tokens of a micro-batch"""
