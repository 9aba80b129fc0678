"""The contract between the API and the worker: the specification of a job.

A request may say `"auto"`; a `JobSpec` holds the number that the API chose for it. Field names are OpenAI's
for hyperparameters, PEFT's for the adapter (`core/methods`) and transformers' for the training options. The
objectives are in `core/objectives`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from core.catalog import Precision
from core.datasets.preparation.requests import Preparation
from core.endpoints.header_values import with_hidden_headers
from core.errors import TuneryError
from core.evals.evaluation import Evaluation
from core.jobs.ancestor import Ancestor
from core.jobs.search import CandidateSearch, CandidateSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.registry import METHODS, AdapterOptions, trains_alone
from core.objectives.hyperparameters import Hyperparameters
from core.objectives.registry import AnyObjective
from core.objectives.supervised import Supervised
from core.options import MAX_DEVICES, Options

Unit = Annotated[float, Field(ge=0, le=1)]

MAX_ROW_LOSSES = 10_000
EVAL_SAMPLES = 3  # prompts that a job with validation rows answers unless its request says otherwise


class BeyondThisRelease(TuneryError):
    """This release cannot read or train a job's specification. A newer release may have made it."""


class TrainingOptions(Options):
    """Options of the optimizer and the loop."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate before `learning_rate_multiplier`; null is the method's usual rate"""
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """Learning rate of LoRA's matrices B, divided by that of its matrices A (LoRA+: Hayou et al. 2024,
    arXiv:2402.12354)"""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate changes after the warmup"""
    warmup_ratio: Unit = 0.03
    """Share of all steps in which the learning rate rises linearly, whatever `lr_scheduler_type` is. As in
    transformers, the steps are rounded up, and the rate starts at 0: the first of them changes nothing"""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """Hold AdamW's two moments in fp32, or in 8 bits with a scale for each 256 values (Dettmers et al. 2022,
    arXiv:2110.02861): a quarter of their memory. On a CPU each step then takes longer"""
    weight_decay: Unit = 0.0
    """Weight decay of AdamW. Norms and biases take none, as in transformers' Trainer"""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to this norm"""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Most tokens of a row; longer rows are cut. Null is the base model's limit"""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two evaluations; null is a quarter of an epoch, but at least 10"""
    eval_samples: Annotated[int, Field(ge=0, le=16)] | None = None
    """Number of validation prompts that the model answers before the first step and at each evaluation; the
    answers are an event. Null: 3 before the first step and after the last, if there are validation rows"""
    eval_max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 64
    """Most tokens of each of these answers"""
    row_losses: Annotated[int, Field(ge=0, le=MAX_ROW_LOSSES)] = 0
    """Rows of the training file, and of the validation file, whose loss is measured before the first step and
    after the last one. This takes the time of two evaluations on them. 0 measures none"""
    early_stopping_patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    """End the job if its loss on the whole validation file has not fallen by more than
    `early_stopping_threshold` in this many evaluations in a row. The best checkpoint is published"""
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    """The validation loss must fall by more than this to count as an improvement"""
    deterministic: bool = False
    """Give the job the same adapter, to the bit, whichever other jobs train beside it, on one kind of CPU. It
    then takes up to a third more time beside other small jobs, and no more time alone"""
    preflight: bool | None = None
    """Compute the longest step, the longest evaluation rows and a checkpoint before the first real step. The
    job then fails at once if it does not fit, and shows what was measured. Nothing of the result changes.
    Null is true on a GPU and false on a CPU"""
    load_best_model_at_end: bool = False
    """Publish the checkpoint with the lowest validation loss instead of the last one, without ending early"""
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    """Number of devices that train each step together"""
    fsdp: Literal["full_shard"] | None = None
    """Spread the base model's layers over the devices, for a model that one device cannot hold. Null: each
    device holds the whole model"""
    quantization: Precision | None = None
    """Hold the frozen weights in 4 bits (`nf4`, QLoRA: Dettmers et al. 2023, arXiv:2305.14314) or in 8 bits
    (`int8`), or as they were published (`none`). `GET /v1/models` lists what a base model allows. Null is
    the base model's own precision, or that of the model from which the job continues"""

    @property
    def has_eight_bit_moments(self) -> bool:
        return self.optimizer == "adamw_8bit"


def shown_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told outside of a job's specification.

    That is not where the store has the models of its graders and its teacher, and no header of a grader's
    requests.
    """
    told = {name: value for name, value in spec.items() if name != "grader_models"}
    return {name: with_hidden_headers(value) for name, value in told.items()}


class JobSpec(Options):
    """Everything that decides a job's result except the bytes of its files."""

    base_model: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    hyperparameters: Hyperparameters
    adapter: AdapterOptions = LoraAdapter()
    training: TrainingOptions = TrainingOptions()
    objective: AnyObjective = Supervised()
    search: CandidateSearch | None = None
    """The candidates of a job that trains several. Until only one is left, `adapter` and `learning_rate`
    are those of the first candidate."""
    evaluation: Evaluation | None = None
    """What is evaluated when the result exists. It changes nothing of the result."""
    grader_models: dict[str, dict[str, Any]] = Field(default={})
    """What a server loads for each model that a grader names, or that is the teacher of a distillation."""
    preparation: Preparation | None = None
    """How the rows are made of the training file. None trains on the file as it is."""
    lineage: list[Ancestor] = Field(default=[])
    """The model whose weights the job begins with, then that model's parent, and so on. Empty for a job
    that begins at its base model."""

    @property
    def candidates(self) -> list["JobSpec"]:
        """Each candidate's specification, as if it were a job of its own. Most jobs have one candidate."""
        if self.search is None:
            return [self]
        return [self._with_candidate(candidate, None) for candidate in self.search.candidates]

    def with_winner(self, winner: int) -> "JobSpec":
        """Return the specification with the options of candidate `winner`. Its search names the winner."""
        if self.search is None:
            return self
        search = self.search.model_copy(update={"winner": winner})
        return self._with_candidate(search.candidates[winner], search)

    def _with_candidate(self, candidate: CandidateSpec, search: CandidateSearch | None) -> "JobSpec":
        training = self.training.model_copy(update={"learning_rate": candidate.learning_rate})
        return self.model_copy(update={"adapter": candidate.adapter, "training": training, "search": search})

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate of the schedule."""
        rate = self.training.learning_rate or usual_learning_rate(self.adapter.type)
        return rate * self.hyperparameters.learning_rate_multiplier

    @property
    def low_rank(self) -> LowRankAdapter:
        """The adapter of a job that trains LoRA or AdaLoRA. Raises BeyondThisRelease for another method."""
        if not isinstance(self.adapter, LoraAdapter | AdaLoraAdapter):
            raise BeyondThisRelease(f"The method {self.adapter.type} is not trained by this release")
        return self.adapter

    @property
    def sampled_tokens(self) -> int:
        """The most tokens of an answer that the job samples to learn from; 0 if rows have their answers."""
        return self.objective.sampled_tokens

    @property
    def trains_alone(self) -> bool:
        """Whether the job shares its steps with no other job."""
        return trains_alone(self.adapter)

    @property
    def keeps_parent(self) -> bool:
        """Whether the model that the job continues from is the reference of its objective."""
        return bool(self.lineage) and self.objective.needs_reference

    @property
    def publishes_best(self) -> bool:
        """Whether the state with the lowest validation loss is published instead of the last state."""
        training = self.training
        stops_early = training.early_stopping_patience is not None or self.objective.stops_early
        return training.load_best_model_at_end or stops_early

    @property
    def sharded(self) -> bool:
        """Whether the base model is spread over the devices."""
        return self.training.fsdp is not None


def usual_learning_rate(method: str) -> float:
    """Return the peak learning rate for a job of this PEFT method that sets no learning rate."""
    return METHODS[method].learning_rate


def read_spec(stored: Mapping[str, Any]) -> JobSpec:
    """Return a stored job's specification for training.

    Raises BeyondThisRelease; its message names the fields that this release cannot read or train.
    """
    try:
        return JobSpec.model_validate(stored)
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise BeyondThisRelease("; ".join(reasons)) from error
