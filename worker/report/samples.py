"""What a job's model answers at its evaluations, for its client to read as events."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol, Unpack

import structlog

from core.errors import TuneryError
from core.jobs.events import EventOptions
from core.jobs.spec import TrainingOptions
from worker.devices.process_group import ProcessGroup
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.generate.answers import Answer
from worker.engine.step.trainee import Trainee
from worker.rows import Row

MOST_CHARACTERS = 2000  # of each text
ELLIPSIS = "…"

log = structlog.get_logger()


class Tells(Protocol):
    """Where samples go: a `JobLease`, or a candidate's part of one, of which the leader's are the job's."""

    is_best: bool

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None: ...


class Samples:
    """The first rows of the validation file, as many as the job asks for; none without such a file."""

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        reporter: Tells,
        valid_rows: Sequence[Row],
        training: TrainingOptions,
    ) -> None:
        self._process_group, self._trainee, self._reporter = process_group, trainee, reporter
        self._max_new_tokens = training.eval_max_new_tokens
        size = trainee.rows_per_example
        self._rows = valid_rows[: training.eval_samples * size : size]  # of two answers, the preferred one

    def take(self, abandon: Callable[[], bool]) -> list[Answer]:
        """What the model says now. Raises Abandoned where `abandon` says so between two tokens.

        What a model's own code breaks on ends the samples, and not the job.
        """
        if not self._rows or not self._reporter.is_best:
            return []
        try:
            return self._process_group.answer(self._trainee, self._rows, self._max_new_tokens, abandon)
        except TuneryError:
            raise
        except Exception as error:
            if device_is_broken(error) or is_out_of_memory(error):
                raise
            log.warning("no_samples", job=self._trainee.adapter.name, exc_info=error)
            self._rows = []
            message = f"No samples are generated: the base model's code for it breaks: {error}"
            self._reporter.event(message, "no_samples", level="warn", data={"code": "no_samples"})
            return []

    def tell(self, step: int, found: Sequence[Answer]) -> None:
        """A step that is made again after a crash tells nothing twice."""
        if not found:
            return
        count = f"{len(found)} validation prompt{'s' if len(found) > 1 else ''}"
        self._reporter.event(
            f"Step {step}: the model's answers to {count}",
            data={"step": step, "rows": [_readable(each) for each in found]},
            once_as=f"samples {step}",
            type="samples",
        )


def _readable(answer: Answer) -> dict[str, Any]:
    """Of a long prompt the end, which the answer follows; of other texts the beginning."""
    row = asdict(answer)
    row["prompt"] = _stored(answer.prompt)
    if len(row["prompt"]) > MOST_CHARACTERS:
        row["prompt"] = ELLIPSIS + row["prompt"][-MOST_CHARACTERS:]
    for name in ("expected", "answer"):
        if row[name] is not None:
            row[name] = _shortened(_stored(row[name]))
    return row


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + ELLIPSIS


def _stored(text: str) -> str:
    """Postgres takes no NUL, and a model may say anything."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
