"""Describes what an installation shall do in a day."""

from dataclasses import dataclass

from api.job_estimates.facts import Facts
from api.job_estimates.rows import Rows
from core.catalog import BaseModelEntry, Precision
from core.errors import ConfigurationError
from core.estimates.configuration import configuration_of
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.low_rank import LoraAdapter
from core.methods.whole import FullTuning
from core.objectives.hyperparameters import Hyperparameters
from core.settings import Settings

BATCH = 8


@dataclass(frozen=True)
class Wanted:
    """Jobs that are alike, and chats, of one day."""

    jobs: int
    rows: int
    tokens: int
    """Tokens of a row"""
    epochs: int
    spec: JobSpec
    facts: Facts
    hours: int
    """Hours of a day in which the jobs come and shall end"""
    chats: float
    """Answers that begin in a second, at the busiest time"""
    prompt: int
    answer: int
    days: int
    """Days for which jobs, files and results are kept"""

    @property
    def steps(self) -> int:
        return self.epochs * self.spec.hyperparameters.steps_per_epoch(self.rows)


def job_of(
    entry: BaseModelEntry,
    settings: Settings,
    *,
    rows: int,
    tokens: int,
    epochs: int,
    full: bool,
    rank: int,
    quantization: Precision | None,
    devices: int,
    fsdp: bool,
) -> tuple[JobSpec, Facts]:
    """Return a job on rows that all have as many tokens, and what its estimate follows from.

    Raises ConfigurationError if the base model does not allow the job, or if its configuration is not here.
    """
    if quantization is not None and quantization not in entry.precisions:
        raise ConfigurationError(
            f"{entry.id} cannot be held in {quantization}; it allows {', '.join(entry.precisions)}"
        )
    if tokens > entry.max_length:
        raise ConfigurationError(f"Rows of {entry.id} have at most {entry.max_length:,} tokens")
    configuration = configuration_of(entry, settings.models_folder)
    if configuration is None:
        raise ConfigurationError(
            f"The configuration of {entry.id} is not on this machine. Give a folder that has its config.json"
        )
    spec = JobSpec(
        base_model=entry.id,
        seed=0,
        hyperparameters=Hyperparameters(n_epochs=epochs, batch_size=BATCH, learning_rate_multiplier=1.0),
        adapter=FullTuning() if full else LoraAdapter(r=rank),
        training=TrainingOptions(
            quantization=quantization,
            devices=devices,
            fsdp="full_shard" if fsdp else None,
        ),
    )
    alike = Rows.counted(rows, 1, rows * tokens, tokens, rows * float(tokens) ** 2)
    return spec, Facts(entry.in_precision(spec.training.quantization), entry, configuration, alike)
