"""The kinds of work: what each is asked to do, which program does it, and by which rules.

Everything else about work is written once: its life in this folder, its routes in `api/work`, its process in
`worker/tasks/frame`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from core.compositions.requests import Composition
from core.datasets.checks.report import ContentReport
from core.datasets.checks.requests import CheckRequest
from core.datasets.formats.conversion import ConversionReport, ConvertRequest
from core.evals.results import RunReport
from core.evals.run_request import RunRequest
from core.exports.requests import EXPORT_REQUEST
from core.imports import ImportRequest
from core.portability.report import Measurement
from core.settings import Settings
from core.tables import Task
from core.work import tracking

TaskClass = Literal["computing", "reading", "asking", "measuring", "following", "awaited"]
"""Who a task shares its worker's processes with.

Computing takes minutes to hours, by the size of the base model. Reading a file takes minutes. Asking takes
hours, but little of the machine. Measuring takes minutes, and perhaps nobody waits for it. So none of them
ever takes the process of another one. Following a job lasts as long as the job. A request waits for the end
of an awaited task, which takes seconds. So such a task never waits for the others.
"""

DAYS_OF_REPORTS = 30  # for which the check or the conversion of a file is shown, whatever came of it
FREE_FORM: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def _tell_nobody(_session: Session, _task: Task, _reason: str, _over: bool) -> None:
    """Do nothing: the task itself shows why it has failed."""


@dataclass(frozen=True)
class Kind:
    """A kind of work. Its name begins the ids of its tasks, and has no hyphen.

    `request` is what a task is asked to do as its row keeps it, and `report` what it has found. `program` is
    the package that does it: `python -m PROGRAM TASK FENCE HOLDER`. `days_kept` has the days for which a
    task with files is kept, and `days_shown` those for which a task without files is shown after its end.
    """

    name: str
    program: str
    request: TypeAdapter[Any]
    report: TypeAdapter[Any]
    task_class: TaskClass = "computing"
    last_if_from_job: bool = False
    """Whether a task that a job or a task has started goes after all others, since nobody has asked for it.

    It also waits until no job trains on the CPU of its worker's machine, and stops when one is claimed there.
    """
    one_of_project: bool = False
    """Whether one task of a project is done at a time, and the others wait."""
    max_losses: int = 3
    """The processes that may die or hang with a task. Then it fails."""
    delays: Sequence[float] = ()
    """How long it waits after each of them, in seconds. Without delays, the next process has it at once."""
    tell: Callable[[Session, Task, str, bool], None] = _tell_nobody
    """Tells others why a try has failed, and whether it was the last one."""
    is_ready: Callable[[], ColumnElement[bool]] | None = None
    """Returns the condition under which a task may be taken, if there is one."""
    most_seconds: float = 2 * 3600.0
    """A process that makes no progress for so long hangs."""
    retry_seconds: float = 30.0
    """How long it waits after a fault of the store, the database or the disk."""
    max_tries: int = 60
    max_age: timedelta = timedelta(days=1)
    """A task that meets such faults is given up once it has had so many tries and is as old as this."""
    measured_when_made: bool = False
    """Whether an adapter that a task makes is measured in other runtimes, where its worker measures."""
    days_kept: Callable[[Settings], int | None] = lambda _: None
    days_shown: int = 7


EXPORT = Kind(
    "export",
    program="worker.tasks.export",
    request=EXPORT_REQUEST,
    report=FREE_FORM,
    days_kept=lambda settings: settings.retention_export_days,
)
COMPOSITION = Kind(
    "composition",
    program="worker.tasks.composition",
    request=TypeAdapter(Composition),
    report=FREE_FORM,
    measured_when_made=True,
)
PORTABILITY = Kind(
    "portability",
    program="worker.tasks.portability",
    request=FREE_FORM,
    report=TypeAdapter(Measurement),
    task_class="measuring",
    last_if_from_job=True,
)
EVAL_RUN = Kind(
    "evalrun",
    program="worker.tasks.evaluation",
    request=TypeAdapter(RunRequest),
    report=TypeAdapter(RunReport),
    task_class="asking",
)
CHECK = Kind(
    "check",
    program="worker.tasks.datasets",
    request=TypeAdapter(CheckRequest),
    report=TypeAdapter(ContentReport),
    task_class="reading",
    days_kept=lambda _: DAYS_OF_REPORTS,
    days_shown=DAYS_OF_REPORTS,
)
CONVERSION = Kind(
    "conversion",
    program="worker.tasks.datasets",
    request=TypeAdapter(ConvertRequest),
    report=TypeAdapter(ConversionReport),
    task_class="reading",
    days_kept=lambda _: DAYS_OF_REPORTS,
    days_shown=DAYS_OF_REPORTS,
)
TRACKING = Kind(
    "tracking",
    program="worker.tasks.tracking",
    request=TypeAdapter(tracking.TrackingRequest),
    report=TypeAdapter(tracking.TrackingReport),
    task_class="following",
    max_losses=len(tracking.DELAYS) + 1,
    delays=tracking.DELAYS,
    tell=tracking.warn,
    is_ready=tracking.has_a_job_to_report,
    most_seconds=120.0,  # longer than any library waits for its server before it raises
    max_age=timedelta(days=3650),  # it lives as long as its job, and is taken again at each pause
    days_kept=lambda _: 7,
)
IMPORT = Kind(
    "import",
    program="worker.tasks.importing",
    request=TypeAdapter(ImportRequest),
    report=FREE_FORM,
    task_class="awaited",
    one_of_project=True,
    max_losses=2,
    most_seconds=600.0,  # twice as long as one file may be read
    retry_seconds=2.0,
    max_tries=3,
    max_age=timedelta(),
    days_shown=1,  # as long as a repeated request finds it
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (EXPORT, COMPOSITION, PORTABILITY, EVAL_RUN, CHECK, CONVERSION, TRACKING, IMPORT)
}


def names_in(task_class: TaskClass) -> tuple[str, ...]:
    """Return the names of the kinds of a class."""
    return tuple(kind.name for kind in KINDS.values() if kind.task_class == task_class)


def kind_of(task_id: str) -> Kind:
    """Return the kind of the task with this id."""
    return KINDS[task_id.partition("-")[0]]
