"""The contract between the API and the worker: what a job trains, and how.

The request's models hold `"auto"`; `JobSpec` holds what it became. Field names are OpenAI's for
hyperparameters, PEFT's for the adapter (`core/methods`) and transformers' for the training options.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from core.errors import TuneryError
from core.jobs.search import CandidateSpec, Search
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.method import MethodOptions
from core.methods.offered import OPTIONS
from core.methods.registry import METHODS, AdapterOptions
from core.options import Options

Auto = Literal["auto"]
Unit = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(gt=0, le=100)]
Weight = Annotated[float, Field(gt=0, le=100)]

MAX_DEVICES = 64


class RequestedHyperparameters(Options):
    """OpenAI's hyperparameters of a supervised job, as a client sends them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    """Passes over the training file; `auto` goes by the number of its rows"""
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Rows of an optimizer step, or pairs; `auto` goes by the number of the training file's rows"""
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"
    """Of `training.learning_rate`; `auto` is 1, with preferences 0.1"""


class Hyperparameters(Options):
    """The same, resolved."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float

    def steps_per_epoch(self, examples: int) -> int:
        """The last step of an epoch takes what is left."""
        return -(-examples // min(self.batch_size, examples))


class RequestedDpo(RequestedHyperparameters):
    """OpenAI's hyperparameters of a DPO job. `batch_size` counts pairs."""

    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"
    """How closely the model is held to the base; `auto` is 0.1"""


class RequestedOrpo(RequestedHyperparameters):
    beta: Auto | Beta = "auto"
    """Weight of the odds ratio beside the cross-entropy; `auto` is 0.1"""


class RequestedKto(RequestedHyperparameters):
    beta: Auto | Beta = "auto"
    """How closely the model is held to the base; `auto` is 0.1"""
    desirable_weight: Auto | Weight = "auto"
    """Weight of the desirable rows' loss; `auto` is 1"""
    undesirable_weight: Auto | Weight = "auto"
    """Weight of the undesirable rows' loss; `auto` is 1"""


class RequestedSimpo(RequestedHyperparameters):
    beta: Auto | Beta = "auto"
    """Scale of the rewards; `auto` is 2"""
    gamma: Auto | Annotated[float, Field(ge=0, le=100)] = "auto"
    """By how much the preferred answer's reward is to be above the other's; `auto` is 1"""


class Supervised(Options):
    """Cross-entropy of what the assistant says."""

    type: Literal["supervised"] = "supervised"


class Dpo(Options):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290).

    `beta` weighs how far the model may move from the base.
    """

    type: Literal["dpo"] = "dpo"
    beta: float = 0.1


class Orpo(Options):
    """Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691). `beta` is the paper's λ."""

    type: Literal["orpo"] = "orpo"
    beta: float = 0.1


class Kto(Options):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306)."""

    type: Literal["kto"] = "kto"
    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0


class Simpo(Options):
    """Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734). `gamma` is a margin of rewards."""

    type: Literal["simpo"] = "simpo"
    beta: float = 2.0
    gamma: float = 1.0


Objective = Annotated[Supervised | Dpo | Orpo | Kto | Simpo, Field(discriminator="type")]


class BeyondThisRelease(TuneryError):
    """A job's specification that this release cannot read, or does not train: of a newer one, say."""


class TrainingOptions(Options):
    """Options of the optimizer and the loop."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """The peak before `learning_rate_multiplier`; null is the method's usual one"""
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """How much faster LoRA's B learn than its A (LoRA+: Hayou et al. 2024, arXiv:2402.12354)"""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warmup"""
    warmup_ratio: Unit = 0.03
    """Share of all steps in which the rate rises linearly, whatever the schedule: from 0, as in transformers,
    so that the first step of a warmup changes nothing"""
    weight_decay: Unit = 0.0
    """AdamW's"""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Larger gradients are scaled down to this norm"""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens of a row; longer rows are cut. Null is the base model's limit"""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two evaluations; null is four times an epoch, at most every 10"""
    eval_samples: Annotated[int, Field(ge=0, le=16)] = 0
    """Prompts of the validation file that the model answers at each evaluation, as an event to be read"""
    eval_max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 64
    """Tokens of such an answer"""
    early_stopping_patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Evaluations, each on the whole validation file, without a fall of the loss by more than
    `early_stopping_threshold`, after which the job ends and its best checkpoint is published"""
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    """By how much the loss must fall to count"""
    load_best_model_at_end: bool = False
    """Publish the checkpoint with the lowest validation loss, without ending early"""
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    """That train each step together"""
    fsdp: Literal["full_shard"] | None = None
    """Spreads the base model's layers over the devices, for one that a device alone cannot hold; else each
    holds the whole"""


class JobSpec(Options):
    """Everything that decides a job's result, but for the bytes of its files."""

    base_model: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    hyperparameters: Hyperparameters
    adapter: AdapterOptions = LoraAdapter()
    training: TrainingOptions = TrainingOptions()
    objective: Objective = Supervised()
    search: Search | None = None
    """Of a job with several candidates; `adapter` and `learning_rate` are the first's until one is left."""

    @property
    def candidates(self) -> list["JobSpec"]:
        """What each candidate trains, as a job alone would; of most jobs it is one."""
        if self.search is None:
            return [self]
        return [self._of(candidate, None) for candidate in self.search.candidates]

    def decided(self, winner: int) -> "JobSpec":
        """With what the candidate of that number has, and the search that led to it."""
        if self.search is None:
            return self
        search = self.search.model_copy(update={"winner": winner})
        return self._of(search.candidates[winner], search)

    def _of(self, candidate: CandidateSpec, search: Search | None) -> "JobSpec":
        training = self.training.model_copy(update={"learning_rate": candidate.learning_rate})
        return self.model_copy(update={"adapter": candidate.adapter, "training": training, "search": search})

    @property
    def peak_learning_rate(self) -> float:
        rate = self.training.learning_rate or usual_learning_rate(self.adapter.type)
        return rate * self.hyperparameters.learning_rate_multiplier

    @property
    def low_rank(self) -> LowRankAdapter:
        """The adapter of a job that trains LoRA or AdaLoRA. Raises BeyondThisRelease for another method."""
        if not isinstance(self.adapter, LoraAdapter | AdaLoraAdapter):
            raise BeyondThisRelease(f"The method {self.adapter.type} is not trained by this release")
        return self.adapter

    @property
    def trains_alone(self) -> bool:
        """Whether the job's method shares its steps with no other job."""
        return METHODS[self.adapter.type].trains == "alone"

    @property
    def publishes_best(self) -> bool:
        """Whether the state with the lowest validation loss is published, and not the last one."""
        training = self.training
        return training.load_best_model_at_end or training.early_stopping_patience is not None

    @property
    def sharded(self) -> bool:
        """Whether the base model is spread over the devices."""
        return self.training.fsdp is not None


def usual_learning_rate(method: str) -> float:
    """The peak where a job names none."""
    return METHODS[method].learning_rate


def read_spec(stored: Mapping[str, Any]) -> JobSpec:
    """A job's specification, to train it. Raises BeyondThisRelease, with the fields that are the reason."""
    try:
        spec = JobSpec.model_validate(stored)
        for candidate in spec.candidates:
            _refuse_unknown(candidate.adapter)
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise BeyondThisRelease("; ".join(reasons)) from error
    return spec


def _refuse_unknown(adapter: MethodOptions) -> None:
    """Raises BeyondThisRelease, or ValidationError."""
    offered = OPTIONS.get(adapter.type)
    if offered is None:
        raise BeyondThisRelease(f"adapter.type: {adapter.type} is not trained by this release")
    offered.model_validate(adapter.model_dump())


def resolve_hyperparameters(
    requested: RequestedHyperparameters, rows: int, objective: Objective | None = None
) -> Hyperparameters:
    """What `"auto"` becomes for a dataset of `rows` rows; a pair is one.

    batch_size: a hundredth of the rows, between 4 and 32, so that small datasets still take many steps.
    n_epochs: 3, or more where 3 epochs would be under 300 rows seen, up to 10. With preferences 1 to 3.
    learning_rate_multiplier: 1. With preferences 0.1: their usual rates are lower.
    """
    supervised = objective is None or isinstance(objective, Supervised)
    fewest, most, multiplier = (3, 10, 1.0) if supervised else (1, 3, 0.1)
    batch_size = min(32, max(4, rows // 100)) if requested.batch_size == "auto" else requested.batch_size
    n_epochs = min(most, max(fewest, -(-300 // rows))) if requested.n_epochs == "auto" else requested.n_epochs
    if requested.learning_rate_multiplier != "auto":
        multiplier = requested.learning_rate_multiplier
    return Hyperparameters(n_epochs=n_epochs, batch_size=batch_size, learning_rate_multiplier=multiplier)


def resolve_objective(requested: RequestedHyperparameters) -> Objective:
    """What to minimise: `"auto"` becomes the default."""
    kinds: dict[type[RequestedHyperparameters], type[Dpo | Orpo | Kto | Simpo]] = {
        RequestedDpo: Dpo,
        RequestedOrpo: Orpo,
        RequestedKto: Kto,
        RequestedSimpo: Simpo,
    }
    kind = kinds.get(type(requested))
    if kind is None:
        return Supervised()
    asked = requested.model_dump(exclude=set(RequestedHyperparameters.model_fields))
    return kind(**{name: value for name, value in asked.items() if value != "auto"})
