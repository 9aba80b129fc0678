"""An adapter together with the job that trained it, and what follows from both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.catalog import Precision
from core.jobs.lineage import lineage_of
from core.tables import Adapter, Job


def precision_of(spec: Mapping[str, Any]) -> Precision | None:
    """Return the precision in which a job of this stored specification trains; None is the catalog's own."""
    found: Precision | None = spec["training"]["quantization"]
    return found


class AdapterRow(NamedTuple):
    """An adapter, and the job that trained it. An adapter that was imported or composed has no job."""

    adapter: Adapter
    job: Job | None

    @property
    def model(self) -> str:
        """The name of the fine-tuned model."""
        found = self.adapter.model if self.job is None else self.job.fine_tuned_model
        return found or self.adapter.id

    @property
    def base_model(self) -> str:
        """The id of the base model in the catalog."""
        return self.job.base_model if self.job is not None else self.adapter.base_model or ""

    @property
    def precision(self) -> Precision | None:
        """The precision of the base model that it was trained on; None is the catalog's own."""
        return precision_of(self.job.spec) if self.job is not None else None

    @property
    def options(self) -> Mapping[str, Any]:
        """The method of adaptation and its options, as a job's specification has them."""
        return self.job.spec["adapter"] if self.job is not None else self.adapter.options or {}

    @property
    def published_options(self) -> Mapping[str, Any]:
        """The same, with the weights of experts that the published adapter changes."""
        return {**self.options, "target_parameters": self.adapter.training.get("target_parameters")}

    @property
    def lineage(self) -> Sequence[Mapping[str, Any]]:
        """The models that it was made of: those that its job continued from, or a composition's parts."""
        if self.job is not None:
            return lineage_of(self.job.spec)
        found: Sequence[Mapping[str, Any]] = (self.adapter.origin or {}).get("parents", ())
        return found
