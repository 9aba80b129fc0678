"""What a job's model answers at its evaluations, for its client to read as events."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol, Unpack

import structlog

from core.errors import TuneryError
from core.events import EventOptions
from core.jobspec import TrainingOptions
from worker.crew import Crew
from worker.data.render import Row
from worker.engine.answers import Answer
from worker.engine.device import device_is_broken, is_want_of_memory
from worker.engine.member import Member

MOST_CHARACTERS = 2000  # of each text
ELLIPSIS = "…"

log = structlog.get_logger()


class Tells(Protocol):
    """Where samples go: a `Reporter`, or a candidate's part of one, of which the leader's are the job's."""

    leads: bool

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None: ...


class Samples:
    """The first rows of the validation file, as many as the job asks for; none without such a file."""

    def __init__(
        self,
        crew: Crew,
        member: Member,
        reporter: Tells,
        valid_rows: Sequence[Row],
        training: TrainingOptions,
    ) -> None:
        self._crew, self._member, self._reporter = crew, member, reporter
        self._max_new_tokens = training.eval_max_new_tokens
        size = member.rows_per_example
        self._rows = valid_rows[: training.eval_samples * size : size]  # of two answers, the preferred one

    def take(self, abandon: Callable[[], bool]) -> list[Answer]:
        """What the model says now. Raises Abandoned where `abandon` says so between two tokens.

        What a model's own code breaks on ends the samples, and not the job.
        """
        if not self._rows or not self._reporter.leads:
            return []
        try:
            return self._crew.answer(self._member, self._rows, self._max_new_tokens, abandon)
        except TuneryError:
            raise
        except Exception as error:
            if device_is_broken(error) or is_want_of_memory(error):
                raise
            log.warning("no_samples", job=self._member.adapter.name, exc_info=error)
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
