"""The eval of a job with reinforcement. Each validation of the job is a run of it."""

from sqlalchemy.orm import Session

from core.evals.criteria import CRITERION
from core.evals.evals import create_eval
from core.tables import Job


def eval_of(job: Job) -> str | None:
    """Return the id of a job's eval. None is for a job without a grader.

    The id follows from the job's own, so that a job names its eval without a column for it.
    """
    return job.id.replace("ftjob-", "eval-") if "grader" in job.spec["objective"] else None


def create_validation_eval(session: Session, job: Job) -> None:
    """Add the eval of a new job, with the job's grader as its criterion. Without a grader, do nothing."""
    if eval_id := eval_of(job):
        grader = CRITERION.validate_python(job.spec["objective"]["grader"])
        name = f"Validations of {job.id}"
        create_eval(session, job.project_id, name, [grader], job_id=job.id, eval_id=eval_id)
