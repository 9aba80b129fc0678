"""Finds whether a job's grader was tried out before, and what that says of the job.

A try-out is an eval run with several samples of each row. It speaks of a job if it has judged the same model
by the same grader, on a file with the same content as the training file, and if it has sampled the answers as
the job will: to the rows as they are, with temperature 1, in the same form. A try-out calls no tools, so it
says nothing of a job that does.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Integer, select
from sqlalchemy.orm import Session

from api.jobs.creation.found import Found
from api.jobs.creation.schemas import CreateJob
from core.endpoints.header_values import with_hidden_headers
from core.errors import InvalidRequest
from core.evals.data_sources import CompletionsDataSource, RunSamplingParams
from core.evals.results import RunReport
from core.evals.sampled_rows import SampledRows
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import GRADER
from core.tables import Eval, File, Task
from core.work.kinds import EVAL_RUN

MOST_READ = 20  # of the newest runs on the file
FEWEST_TO_REFUSE = 30
"""Rows without variance that refuse a job. If 30 rows have none, at most a tenth of all rows has any, with a
confidence of 95 % (the rule of three: Hanley and Lippman-Hand 1983). A tenth is what a job needs"""
ONLY_NAMES_AND_PASSES = ("name", "pass_threshold")  # the scores are the same without them


class TryOut(NamedTuple):
    """What the samples of an eval run say of a job's rows."""

    run: Task
    sampled: SampledRows

    @property
    def source(self) -> CompletionsDataSource:
        return CompletionsDataSource.model_validate(self.run.request["data_source"])


def find_try_out(session: Session, project_id: str, request: CreateJob, found: Found) -> TryOut | None:
    """Return the newest try-out that speaks of the job, or None without one."""
    grader = request.options_beside.get("grader")
    if grader is None or request.options_beside.get("tools"):
        return None
    model = request.model if found.lineage else found.base_model.id
    scoring = _scoring(grader.model_dump(mode="json"))
    tried = _try_outs(session, project_id, model, request.training_file, scoring)
    form = request.options_beside.get("response_format")
    return next((each for each in tried if _samples_as_jobs_do(each.source, form)), None)


def refuse_in_vain(try_out: TryOut | None, spec: JobSpec) -> None:
    """Raise InvalidRequest if the answers to none of the rows that were tried out differ in their scores.

    Answers that were shorter than the job's refuse nothing.
    """
    if try_out is None or try_out.source.most_tokens < spec.sampled_tokens:
        return
    run, sampled = try_out
    if sampled.rows < FEWEST_TO_REFUSE or sampled.rows_without_variance < sampled.rows:
        return
    raise InvalidRequest(
        f"'{GRADER}' was tried out on this file, by the run '{run.id}' of the eval '{run.eval_id}'. A job "
        f"learns only from rows whose answers differ in their scores. {sampled.advice} If the other rows of "
        "the file are unlike these, try it out on them too: the newest run counts.",
        code="nothing_to_learn",
        param=GRADER,
    )


def _try_outs(
    session: Session, project_id: str, model: str, file_id: str, scoring: Mapping[str, Any]
) -> Iterator[TryOut]:
    """Yield the try-outs by a grader, the newest first."""
    source = Task.request["data_source"]
    content = select(File.sha256).where(File.id == file_id).scalar_subquery()
    same = select(File.id).where(File.project_id == project_id, File.sha256 == content)
    runs = (
        select(Task, Eval.criteria)
        .join(Eval, Eval.id == Task.eval_id)
        .where(
            Task.project_id == project_id,
            Task.kind == EVAL_RUN.name,
            Task.status == "succeeded",
            Task.deleted_at.is_(None),
            Task.request["model"].astext == model,
            source["source"]["id"].astext.in_(same),
            source["sampling_params"]["n"].astext.cast(Integer) > 1,
        )
        .order_by(Task.id.desc())
        .limit(MOST_READ)
    )
    for run, criteria in session.execute(runs):
        for criterion, result in zip(criteria, RunReport.model_validate(run.report).criteria, strict=True):
            if result.sampled is not None and _scoring(criterion) == scoring:
                yield TryOut(run, result.sampled)


def _samples_as_jobs_do(source: CompletionsDataSource, form: Mapping[str, Any] | None) -> bool:
    """Return whether a run's answers are sampled as those of a job, whose answers have a form or not."""
    params = source.sampling_params or RunSamplingParams()
    is_plain = source.input_messages is None and not params.tools and params.top_p in (None, 1)
    return is_plain and source.temperature == 1 and params.response_format == form


def _scoring(grader: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores of a grader follow from, as JSON. The values of headers are not compared."""
    shown = with_hidden_headers(dict(grader))
    return {name: value for name, value in shown.items() if name not in ONLY_NAMES_AND_PASSES}
