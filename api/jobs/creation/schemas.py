"""A request for a new job."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.creation.method_schemas import Method
from api.jobs.creation.other_names import IN_THE_SCHEMA
from api.jobs.creation.requested_adapter import RequestedAdapter
from core.datasets.preparation.requests import Augmentation, Fraction, Preparation, RowCount
from core.evals.evaluation import RequestedEvaluation
from core.jobs.integrations import Integration
from core.jobs.spec import TrainingOptions
from core.objectives.hyperparameters import RequestedHyperparameters
from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES
from core.options import Metadata, Suffix

EVALUATED_FILE = "evaluate.file"


class CreateJob(BaseModel):
    """A request for a new job: OpenAI's parameters, and Tunery's own `adapter` and `training`.

    The job's losses are also measured on `validation_file`. `suffix` becomes a part of the fine-tuned model's
    name. `seed` decides all random choices of the job; without one, the server draws it. `metadata` are pairs
    that the client chooses. The list of jobs can be filtered by them.

    If `model` is a fine-tuned model, the job trains its adapter further, with a fresh optimizer. An adapter
    keeps its method, rank and targets; only `adapter.lora_dropout` may be another.

    Unknown parameters are ignored, with a warning among the job's events.
    """

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra=IN_THE_SCHEMA)

    model: Annotated[
        str,
        Field(
            description="A base model from `GET /v1/models`. Or a fine-tuned model, a checkpoint or an "
            "adapter, from whose weights the job continues; then `adapter` is that model's own"
        ),
    ]
    training_file: Annotated[
        str, Field(description="A file with the purpose `fine-tune` and at least 10 rows")
    ]
    validation_file: str | None = None
    validation_split: Annotated[
        Fraction | RowCount | None,
        Field(
            description="Holds rows of the training file out as validation rows: a share of the rows, or "
            "their number. Similar rows stay on one side"
        ),
    ] = None
    augmentation: Annotated[
        Augmentation | None, Field(description="Adds variants of the training rows. Null adds none")
    ] = None
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    hyperparameters: Annotated[
        RequestedHyperparameters | None,
        Field(description="The older field for the hyperparameters. Prefer those in `method`"),
    ] = None
    method: Method | None = None
    integrations: Annotated[
        list[Integration] | None,
        Field(description="Experiment trackers that the job reports to, each at most once", max_length=8),
    ] = None
    adapter: Annotated[
        RequestedAdapter | None,
        Field(
            description="A method from `GET /v1/methods` with its options, under PEFT's names. Without a "
            "`type`, it is LoRA"
        ),
    ] = None
    training: Annotated[
        TrainingOptions | None,
        Field(description="Options of the training, with the names that transformers uses"),
    ] = None
    evaluate: Annotated[
        RequestedEvaluation | None,
        Field(
            description="Compares the result with its base model when the job has succeeded. `GET "
            "/v1/evals?job_id=` finds the evals. An empty object takes the defaults; null evaluates nothing"
        ),
    ] = None

    @property
    def training_or_default(self) -> TrainingOptions:
        """Return the training options of the request, or their defaults if it names none."""
        return self.training or TrainingOptions()

    @property
    def files(self) -> dict[str, str]:
        """Return the ids of the files that are named, by their paths in the request."""
        asked = {"training_file": self.training_file, "validation_file": self.validation_file}
        if self.evaluate is not None:
            asked[EVALUATED_FILE] = self.evaluate.file or self.validation_file or self.training_file
        return {path: file_id for path, file_id in asked.items() if file_id is not None}

    @property
    def has_validation(self) -> bool:
        """Whether rows are held out of training."""
        return self.validation_file is not None or self.validation_split is not None

    @property
    def objective(self) -> Objective:
        """Return the objective of the request's `method`. A request without one is supervised."""
        return OBJECTIVES[self.method.type if self.method else "supervised"]

    @property
    def preparation(self) -> Preparation | None:
        """Return how the rows are made of the training file, or None if the job trains on it as it is."""
        asked = Preparation(validation_split=self.validation_split, augmentation=self.augmentation)
        return None if asked == Preparation() else asked

    @property
    def hyperparameters_of_method(self) -> RequestedHyperparameters | None:
        """Return the hyperparameters that `method` has, if it has some."""
        return self._options.hyperparameters if self._options else None

    @property
    def options_beside(self) -> dict[str, Any]:
        """Return the options that `method` has beside its hyperparameters, without what is null."""
        found = {name: getattr(self._options, name, None) for name in self.objective.options_beside}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def _options(self) -> Any:
        """The options of the objective that `method` names, if it has some."""
        return getattr(self.method, self.objective.name, None)
