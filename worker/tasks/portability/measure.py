"""Measures one adapter: our answers first, then those of each runtime that this machine has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

from core.errors import JobError
from core.portability.report import Attempt, Form, Measurement, Prompts, RuntimeReport
from core.portability.rules import reports_by_rule
from core.portability.traits import Traits, traits_of
from core.tables import Adapter, File, Job
from worker.engine.device.free_memory import collect_garbage
from worker.process.scratch import scratch_folder
from worker.tasks.export.source import Source, open_source
from worker.tasks.frame.work import Work
from worker.tasks.portability.answers import NEW_TOKENS, Answered, compare, difference
from worker.tasks.portability.conclusion import concluded
from worker.tasks.portability.forms import Forms
from worker.tasks.portability.memory import require_memory
from worker.tasks.portability.model_card import write_measured_card
from worker.tasks.portability.ours import base_in_fp32, our_answers
from worker.tasks.portability.prompts import Messages, PromptSet, prompts_for, rows_of
from worker.tasks.portability.runtime_process import Failure, Interrupted
from worker.tasks.portability.runtimes import MeasuredRuntime, Question, installed_runtimes

Report = Callable[[str, float], None]


def measure_task(work: Work, folder: Path) -> Measurement:
    """Measure the task's adapter, and return the report. Raises JobError.

    The files that it leaves are the adapter's model card with the report, and the manifest of that card. A
    project with which the model is only shared gets the report, and leaves the card as it is.
    """
    rows = rows_of(work.store, _validation_file(work))
    runtimes = installed_runtimes(work.settings.vllm_python)
    with open_source(work) as source, scratch_folder("task") as room:
        if work.task.started_by_job:
            require_memory(source.base_folder)
        found = measure(source, rows, runtimes, room, work.progress)
        if _is_the_project_s_own(work):
            write_measured_card(source.folder, found, datetime.now(UTC), folder)
        return found


def measure(
    source: Source, rows: list[Messages], runtimes: Sequence[MeasuredRuntime], room: Path, report: Report
) -> Measurement:
    """Return what the runtimes make of the adapter. `room` is a folder for large files. Raises JobError."""
    _require_plain_base(source)
    options = {**source.options, "type": source.type}
    report("answering with the sampler", 0.15)
    base = base_in_fp32(source)
    prompts = prompts_for(base.tokenizer, source.entry.max_length, rows)
    ours, ends = our_answers(source, base, prompts)
    del base
    collect_garbage(torch.device("cpu"))
    by_rule = reports_by_rule(options, source.entry.repository, source.entry.revision)
    comparison = _Comparison(Question(source, prompts, ends), ours, traits_of(options), room)
    measured = {}
    for number, runtime in enumerate(runtimes):
        rule = next(each for each in by_rule if each.runtime == runtime.runtime)
        report(f"measuring {rule.name}", 0.25 + 0.7 * number / len(runtimes))
        measured[runtime.runtime] = comparison.report(runtime, rule)
    return Measurement(
        prompts=_shown(prompts),
        runtimes=[measured.get(each.runtime, each) for each in by_rule],
    )


def _shown(prompts: PromptSet) -> Prompts:
    count, of_rows = len(prompts.tokens), prompts.of_rows
    return Prompts(
        count=count,
        from_validation_file=of_rows,
        from_general_list=count - of_rows,
        new_tokens=NEW_TOKENS,
    )


def _is_the_project_s_own(work: Work) -> bool:
    with work.sessions() as session:
        return session.get_one(Adapter, work.task.adapter_id).project_id == work.task.project_id


def _validation_file(work: Work) -> File | None:
    with work.sessions() as session:
        job_id = session.get_one(Adapter, work.task.adapter_id).job_id
        job = session.get(Job, job_id) if job_id else None
        return session.get(File, job.validation_file_id) if job and job.validation_file_id else None


def _require_plain_base(source: Source) -> None:
    if source.options.get("init_lora_weights") == "loftq":
        raise JobError(
            "not_measurable",
            f"The adapter began with LoftQ, so it belongs to {source.entry.repository} in "
            f"{source.entry.quantization}. A measurement takes the weights as they were published.",
            "adapter_id",
        )


class _Try(NamedTuple):
    """An attempt, with the runtime's version if it was asked: it is empty if it did not tell it."""

    attempt: Attempt
    version: str | None = None
    interrupted: bool = False


@dataclass
class _Comparison:
    """Our answers, with which each runtime's answers are compared."""

    question: Question
    ours: Answered
    traits: Traits
    room: Path

    def __post_init__(self) -> None:
        self._forms = Forms(self.question.source, self.room)

    def report(self, runtime: MeasuredRuntime, rule: RuntimeReport) -> RuntimeReport:
        """Give the runtime one form after the other, and return the report on it."""
        version, interrupted, attempts = None, False, []
        for form in runtime.forms(self.traits):
            tried = self._try(runtime, form)
            attempts.append(tried.attempt)
            version = version or tried.version
            interrupted = interrupted or tried.interrupted
            if runtime.stops_at_success and tried.attempt.loads and tried.attempt.reason is None:
                break
        if interrupted and not any(each.loads for each in attempts):
            return rule.model_copy(update={"attempts": attempts})
        return concluded(rule, self.traits, self.question.source, version, attempts)

    def _try(self, runtime: MeasuredRuntime, form: Form) -> _Try:
        """Make the form, give it to the runtime, and remove it: forms may be as large as the base model."""
        try:
            candidate = self._forms.candidate(form)
            outcome = runtime.answer(self.question, candidate, self.room)
        except JobError as error:
            return _Try(_not_loaded(form, error.message))
        finally:
            self._forms.remove(form)
        found = outcome.found
        if isinstance(found, Interrupted):
            return _Try(_not_loaded(form, found.reason), interrupted=True)
        if isinstance(found, Failure):
            return _Try(_not_loaded(form, found.reason), outcome.version or "")
        figures = compare(self.ours, found)
        attempt = Attempt(form=form, loads=True, reason=difference(figures), figures=figures)
        return _Try(attempt, outcome.version)


def _not_loaded(form: Form, reason: str) -> Attempt:
    return Attempt(form=form, loads=False, reason=reason, figures=None)
