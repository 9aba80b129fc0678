"""The contract between the API and the worker: what a job trains, and how.

The request's models hold `"auto"`; `JobSpec` holds what it became. Field names are OpenAI's for
hyperparameters, PEFT's for the adapter (`core/methods`) and transformers' for the training options.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from core.errors import TuneryError
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.method import MethodOptions
from core.methods.offered import OPTIONS
from core.methods.registry import METHODS, Adapter
from core.options import Options
from core.search import Candidate, Search

Auto = Literal["auto"]
Unit = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(gt=0, le=100)]
Weight = Annotated[float, Field(gt=0, le=100)]

MAX_DEVICES = 64


class RequestedHyperparameters(Options):
    """OpenAI's hyperparameters of a supervised job, as a client sends them."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"


class Hyperparameters(Options):
    """The same, resolved."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class RequestedDpo(RequestedHyperparameters):
    """OpenAI's hyperparameters of a DPO job. `batch_size` counts pairs."""

    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"


class RequestedOrpo(RequestedHyperparameters):
    beta: Auto | Beta = "auto"


class RequestedKto(RequestedHyperparameters):
    beta: Auto | Beta = "auto"
    desirable_weight: Auto | Weight = "auto"
    undesirable_weight: Auto | Weight = "auto"


class RequestedSimpo(RequestedHyperparameters):
    beta: Auto | Beta = "auto"
    gamma: Auto | Annotated[float, Field(ge=0, le=100)] = "auto"


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
    """Options of the optimizer and the loop.

    `learning_rate` is the peak before `learning_rate_multiplier` (default: the method's usual one).
    `loraplus_lr_ratio` is by how much LoRA's B learn faster than its A (LoRA+: Hayou et al. 2024,
    arXiv:2402.12354). `warmup_ratio` is the share of all steps in which the rate rises linearly, whatever the
    schedule: from 0, as in transformers, so that the first step of a warmup changes nothing. `max_length`
    counts tokens of a row, longer rows are cut (default: the base model's limit). `eval_steps` counts
    optimizer steps (default: four times an epoch, at most every 10). With `early_stopping_patience`, a job
    ends when its validation loss has not fallen by more than `early_stopping_threshold` in so many
    evaluations, each of them on the whole validation file, and its best checkpoint is published;
    `load_best_model_at_end` publishes that without ending early. `devices` train each step together.
    `fsdp` spreads the base model's layers over them, for one that a device alone cannot hold; else each holds
    the whole.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Unit = 0.03
    weight_decay: Unit = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(ge=8)] | None = None
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    early_stopping_patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    load_best_model_at_end: bool = False
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    fsdp: Literal["full_shard"] | None = None


class JobSpec(Options):
    """Everything that decides a job's result, but for the bytes of its files."""

    base_model: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    hyperparameters: Hyperparameters
    adapter: Adapter = LoraAdapter()
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

    def _of(self, candidate: Candidate, search: Search | None) -> "JobSpec":
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
