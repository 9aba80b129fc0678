"""The contract between the API and the worker: what a job trains, and how.

The request's models hold `"auto"`; `JobSpec` holds what it became. Field names are OpenAI's for
hyperparameters, PEFT's for the adapter and transformers' for the training options.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Unit = Annotated[float, Field(ge=0, le=1)]

LORA_LEARNING_RATE = 2e-4
MAX_DEVICES = 64


class Options(BaseModel):
    """Refuses what it does not know and converts nothing: a misspelt option must not train silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


class LoraAdapter(Options):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + s (x Aᵀ) Bᵀ.

    s is lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora` (Kalajdzievski 2023, arXiv:2312.03732).
    """

    type: Literal["lora"] = "lora"
    r: Annotated[int, Field(ge=1, le=256)] = 16
    lora_alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    lora_dropout: Annotated[float, Field(ge=0, le=0)] = 0.0
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    use_rslora: bool = False
    init_lora_weights: Literal[True, "gaussian"] = True


class TrainingOptions(Options):
    """Options of the optimizer and the loop.

    `learning_rate` is the peak before `learning_rate_multiplier`. `warmup_ratio` is the share of all steps in
    which the rate rises linearly, whatever the schedule: from 0, as in transformers, so that the first step
    of a warmup changes nothing. `max_length` counts tokens of a row, longer rows are cut (default: the base
    model's limit). `eval_steps` counts optimizer steps (default: four times an epoch, at most every 10).
    `loraplus_lr_ratio` is how many times faster B learns than A (default: as fast).
    `devices` train each step together. `fsdp` spreads the base model's layers over them, for one that a
    device alone cannot hold; else each holds the whole.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = LORA_LEARNING_RATE
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Unit = 0.03
    weight_decay: Unit = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    fsdp: Literal["full_shard"] | None = None


class JobSpec(Options):
    """Everything that decides a job's result, but for the bytes of its files."""

    base_model: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    hyperparameters: Hyperparameters
    adapter: LoraAdapter = LoraAdapter()
    training: TrainingOptions = TrainingOptions()

    @property
    def peak_learning_rate(self) -> float:
        return self.training.learning_rate * self.hyperparameters.learning_rate_multiplier

    @property
    def sharded(self) -> bool:
        """Whether the base model is spread over the devices."""
        return self.training.fsdp is not None


def resolve_hyperparameters(requested: RequestedHyperparameters, rows: int) -> Hyperparameters:
    """What `"auto"` becomes for a dataset of `rows` rows.

    batch_size: a hundredth of the rows, between 4 and 32, so that small datasets still take many steps.
    n_epochs: 3, or more where 3 epochs would be under 300 rows seen, up to 10.
    learning_rate_multiplier: 1.
    """
    batch_size = min(32, max(4, rows // 100)) if requested.batch_size == "auto" else requested.batch_size
    n_epochs = min(10, max(3, -(-300 // rows))) if requested.n_epochs == "auto" else requested.n_epochs
    multiplier = requested.learning_rate_multiplier
    return Hyperparameters(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=1.0 if multiplier == "auto" else multiplier,
    )
