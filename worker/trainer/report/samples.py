"""Samples: the answers of a job's model to validation prompts, which its client reads as events."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from core.errors import TuneryError
from core.jobs.spec import EVAL_SAMPLES, TrainingOptions
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.sampler.answers import Answer
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.report.reporter import Reporter

MOST_CHARACTERS = 2000  # of each text
ELLIPSIS = "…"

log = structlog.get_logger()


class Samples:
    """Generates answers to the first validation rows, as many as the job asks for.

    Without validation rows, there are no samples.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        reporter: Reporter,
        valid_rows: Sequence[Row],
        training: TrainingOptions,
    ) -> None:
        self._process_group, self._trainee, self._reporter = process_group, trainee, reporter
        self._max_new_tokens = training.eval_max_new_tokens
        size = trainee.rows_per_example
        count = training.eval_samples
        self._at_each_evaluation = count is not None
        if count is None:  # weights that are spread over devices cannot generate
            count = EVAL_SAMPLES if training.fsdp is None else 0
        # Of a pair of answers, the first row has the preferred one
        self._rows = valid_rows[: count * size : size]

    def __bool__(self) -> bool:
        """Whether the job has prompts to answer."""
        return bool(self._rows)

    @property
    def are_due(self) -> bool:
        """Whether the model is to answer in its present state.

        It always answers before the first step and after the last. Other jobs wait meanwhile, so it answers
        at the evaluations in between only if the request names a number of prompts.
        """
        return self._at_each_evaluation or self._trainee.step == 0 or self._trainee.finished

    def take(self, abandon: Callable[[], bool]) -> list[Answer]:
        """Return the model's answers as it is now. Raises Abandoned if `abandon` says so between two tokens.

        If the base model's own code raises an error, the samples end, and the job goes on.
        """
        if not (self._rows and self.are_due and self._reporter.is_best):
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
            message = f"No more samples are generated, since the base model's code for it fails: {error}"
            self._reporter.event(message, "no_samples", level="warn", data={"code": "no_samples"})
            return []

    def report(self, step: int, answers: Sequence[Answer]) -> None:
        """Report the answers as an event, as `report_answers` does."""
        rows = [asdict(answer) for answer in answers]
        for row in rows:
            if row["error"] is None:
                del row["error"]
        report_answers(self._reporter, step, rows)


def report_answers(reporter: Reporter, step: int, rows: Sequence[dict[str, Any]]) -> None:
    """Report answers as an event; each has at least the fields of `Answer`, and `error` only if it has one.

    A step that is made again after a crash reports nothing twice.
    """
    if not rows:
        return
    count = f"{len(rows)} validation prompt{'s' if len(rows) > 1 else ''}"
    reporter.event(
        f"Step {step}: the model's answers to {count}",
        data={"step": step, "rows": [_readable(row) for row in rows]},
        once_as=f"samples {step}",
        type="samples",
    )


def _readable(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with its texts shortened: the end of a long prompt, the beginning of other texts."""
    row = dict(answer)
    if len(row["prompt"]) > MOST_CHARACTERS:
        row["prompt"] = ELLIPSIS + row["prompt"][-MOST_CHARACTERS:]
    for name in ("expected", "answer"):
        if row[name] is not None:
            row[name] = shortened(row[name])
    return row


def shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + ELLIPSIS
