"""Warnings for the client of a job: each has a code, a sentence and numbers, and is given once.

Some follow from the specification and the data, and are known before the first step. Others follow from the
losses. Only means of the losses are kept, and not their history. So a step of a long job costs no more than a
step of a short one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from core.jobs.spec import JobSpec, usual_learning_rate
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.objectives.registry import OBJECTIVES

FAR = 10.0  # a rate this many times above or below the usual one is far from it

MODEST_RANK = 16  # our default; a lower rank saves little
PARAMETERS_PER_TOKEN = 500

TRAINING_MEMORY = 0.9  # the weight of earlier steps in the mean training loss
VALIDATION_MEMORY = 0.7  # the weight of earlier evaluations in the mean validation loss
RISE = 0.05  # overfitting: the share by which the mean validation loss is above its lowest value
FALL = 0.05  # overfitting: the share by which the mean training loss has fallen since then
EVALUATIONS = 3  # overfitting: the fewest evaluations since the lowest one

FIRST_STEPS = 5
JUDGED_FROM = 20  # steps after the warmup that must pass before a standstill is judged
STILL = 0.01  # standstill: the largest change between the means of two epochs, as a share
EARLY_FALL = 0.1  # standstill: the largest fall from the first steps to the first epoch's mean, as a share


@dataclass(frozen=True)
class TrainingWarning:
    """One warning. `numbers` are the values that it follows from."""

    code: str
    message: str
    numbers: Mapping[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The event's data: the code and the numbers."""
        return {"code": self.code, **self.numbers}


def before_training(spec: JobSpec, parameters: int, tokens: int) -> Iterator[TrainingWarning]:
    """Yield the warnings for a job that trains `parameters` numbers on `tokens` supervised tokens."""
    yield from _on_learning_rate(spec)
    if tokens:  # prompts have none
        yield from _on_rank(spec, parameters, tokens)


def before_search(
    found: Mapping[int, Sequence[TrainingWarning]], name_of: Callable[[int], str]
) -> Iterator[TrainingWarning]:
    """Merge the warnings that `before_training` found for each candidate: yield one for each code.

    The keys of `found` are the candidates' numbers. `name_of` names a candidate by its own options.
    """
    for code in dict.fromkeys(warning.code for each in found.values() for warning in each):
        concerned = {
            number: warning for number, each in found.items() for warning in each if warning.code == code
        }
        alike: dict[str, list[int]] = {}
        for number, warning in concerned.items():
            alike.setdefault(warning.message, []).append(number)
        parts = (f"{_named(numbers, found, name_of)}: {message}" for message, numbers in alike.items())
        each_one = [{"candidate": number, **warning.numbers} for number, warning in concerned.items()]
        yield TrainingWarning(code, " ".join(parts), {"candidates": each_one})


def _named(numbers: Sequence[int], among: Collection[int], name_of: Callable[[int], str]) -> str:
    if len(numbers) == len(among) > 1:
        return f"All {len(among)} candidates"
    return f"Candidate{'s' if len(numbers) > 1 else ''} {'; '.join(map(name_of, numbers))}"


def _on_learning_rate(spec: JobSpec) -> Iterator[TrainingWarning]:
    rate, usual = spec.peak_learning_rate, usual_learning_rate(spec.adapter.type)
    usual *= OBJECTIVES[spec.objective.type].learning_rate_multiplier
    if usual / FAR <= rate <= usual * FAR:
        return
    risk = "may undo what the base model knows" if rate > usual else "may change next to nothing"
    message = (
        f"The peak learning rate {rate:g} is far from {usual:g}, which is usual for {spec.adapter.type}, and "
        f"{risk}. Check the losses of the first steps; training.learning_rate sets the rate."
    )
    yield TrainingWarning(
        "unusual_learning_rate", message, {"learning_rate": rate, "usual_learning_rate": usual}
    )


def _on_rank(spec: JobSpec, parameters: int, tokens: int) -> Iterator[TrainingWarning]:
    """Warn of a rank that is too high for the amount of data.

    A parameter can store about two bits (Allen-Zhu and Li 2024, arXiv:2404.05405), and a token of an answer
    carries few bits. With 500 parameters for each token, an adapter could store hundreds of times the data.
    """
    match spec.adapter:
        case LoraAdapter(r=r, rank_pattern=pattern):
            name, rank = "r", max([r, *pattern.values()])
        case AdaLoraAdapter(init_r=rank):
            name = "init_r"
        case _:
            return
    if rank <= MODEST_RANK or parameters <= PARAMETERS_PER_TOKEN * tokens:
        return
    enough = max(MODEST_RANK, int(rank * PARAMETERS_PER_TOKEN * tokens / parameters))
    message = (
        f"The data cannot fill rank {rank}: {parameters:,} parameters learn from {tokens:,} supervised "
        f"tokens. adapter.{name} {enough} would do as well, in less time and memory."
    )
    numbers = {"rank": rank, "enough_rank": enough, "parameters": parameters, "supervised_tokens": tokens}
    yield TrainingWarning("rank_beyond_data", message, numbers)


@dataclass
class Mean:
    """The mean of a series, in which the weight of a number falls with each number after it."""

    value: float = 0.0
    weight: float = 0.0

    def add(self, number: float, memory: float) -> float:
        """Add `number` and return the mean. The mean is unbiased from the first number on."""
        self.weight = memory * self.weight + 1 - memory
        self.value += (1 - memory) * (number - self.value) / self.weight
        return self.value


@dataclass
class Overfitting:
    """Detects that the validation loss rises while the training loss falls.

    Both losses are means over the last steps and evaluations, so that noise does not look like a rise. The
    validation rows are the same each time.
    """

    training: Mean
    validation: Mean
    lowest_mean: float | None = None
    training_then: float = 0.0
    lowest: float | None = None
    since_step: int = 0
    evaluations: int = 0

    @classmethod
    def fresh(cls) -> "Overfitting":
        return cls(Mean(), Mean())

    def note_step(self, loss: float) -> None:
        self.training.add(loss, TRAINING_MEMORY)

    def note_evaluation(self, step: int, loss: float) -> TrainingWarning | None:
        mean = self.validation.add(loss, VALIDATION_MEMORY)
        if self.lowest is None or loss < self.lowest:
            self.lowest, self.since_step = loss, step
        if self.lowest_mean is None or mean < self.lowest_mean:
            self.lowest_mean, self.training_then, self.evaluations = mean, self.training.value, 0
            return None
        self.evaluations += 1
        rises = self.evaluations >= EVALUATIONS and mean > (1 + RISE) * self.lowest_mean
        falls = self.training.value < (1 - FALL) * self.training_then
        return self._warning(step, loss) if rises and falls else None

    def _warning(self, step: int, loss: float) -> TrainingWarning:
        assert self.lowest is not None
        message = (
            f"Overfitting since step {self.since_step}: the validation loss has risen from "
            f"{self.lowest:.4g} to {loss:.4g}, while the training loss falls (about "
            f"{self.training.value:.4g} now). Fewer epochs, more data or a lower learning rate help; "
            "training.early_stopping_patience stops a job in time."
        )
        numbers = {"since_step": self.since_step, "step": step, "lowest_valid_loss": self.lowest}
        return TrainingWarning(
            "overfitting", message, numbers | {"valid_loss": loss, "mean_train_loss": self.training.value}
        )


@dataclass
class Standstill:
    """Detects that an epoch's mean training loss equals that of the first epoch.

    All epochs see the same examples, so their means can be compared without the noise of batches. A job may
    also have learnt everything within its first epoch. Then the first steps of that epoch had a higher loss,
    and there is no warning. Only one epoch is judged: the first that ends `JUDGED_FROM` steps or more after
    the warmup, since little moves during the warmup.
    """

    warmup_steps: int
    steps: int = 0
    total: float = 0.0
    first_steps: float = 0.0
    first_epoch: float = 0.0
    judged: bool = False

    def note_step(self, step: int, loss: float, steps_per_epoch: int) -> TrainingWarning | None:
        self.steps += 1
        self.total += loss
        if step == min(FIRST_STEPS, steps_per_epoch):
            self.first_steps = self.total / self.steps
        if step % steps_per_epoch:
            return None
        mean = self.total / self.steps
        self.steps, self.total = 0, 0.0
        if step == steps_per_epoch:
            self.first_epoch = mean
        elif not self.judged and step >= self.warmup_steps + JUDGED_FROM:
            self.judged = True
            return self._warning(step, mean)
        return None

    def _warning(self, step: int, mean: float) -> TrainingWarning | None:
        first, allowed = self.first_epoch, STILL * abs(self.first_epoch)
        if abs(mean - first) > allowed or abs(self.first_steps - first) > EARLY_FALL * abs(first):
            return None
        message = (
            f"The training loss does not move: {first:.4g} on average in the first epoch, {mean:.4g} in the "
            f"epoch that ended with step {step}. Raise training.learning_rate, and check that the answers "
            "follow from the questions."
        )
        numbers = {"step": step, "first_epoch_train_loss": first, "epoch_train_loss": mean}
        return TrainingWarning("loss_does_not_move", message, numbers)


@dataclass
class Curves:
    """The numbers about a job's losses that warnings need. The fields go into a checkpoint as they are."""

    overfitting: Overfitting
    standstill: Standstill

    @classmethod
    def fresh(cls, warmup_steps: int) -> "Curves":
        return cls(Overfitting.fresh(), Standstill(warmup_steps))

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Curves":
        """Return the curves that `dataclasses.asdict` has turned into `stored`."""
        overfitting = dict(stored["overfitting"])
        training, validation = (Mean(**overfitting.pop(name)) for name in ("training", "validation"))
        return cls(Overfitting(training, validation, **overfitting), Standstill(**stored["standstill"]))

    def note_step(self, step: int, loss: float, steps_per_epoch: int) -> Iterable[TrainingWarning]:
        """Take in the training loss of `step`, counted from 1. Return the warnings that follow."""
        self.overfitting.note_step(loss)
        warning = self.standstill.note_step(step, loss, steps_per_epoch)
        return [warning] if warning else []

    def note_evaluation(self, step: int, loss: float) -> Iterable[TrainingWarning]:
        """Take in the loss after `step` on the same validation rows as before. Return the warnings."""
        warning = self.overfitting.note_evaluation(step, loss) if isfinite(loss) else None
        return [warning] if warning else []
