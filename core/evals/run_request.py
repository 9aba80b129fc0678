"""What a run of an eval is asked to do, as its task keeps it."""

from typing import Any

from pydantic import BaseModel

from core.evals.data_sources import DataSource


class RunRequest(BaseModel):
    """The request of a run. The model was resolved when the run was created.

    `model` is its name in answers, and `served` what a server loads for it (`core.serving.served_model`).
    Both are null if the rows have their samples already. `grader_models` has the same for the models that
    graders name.
    """

    name: str
    metadata: dict[str, str] | None = None
    data_source: DataSource
    model: str | None = None
    served: dict[str, Any] | None = None
    grader_models: dict[str, dict[str, Any]] = {}
