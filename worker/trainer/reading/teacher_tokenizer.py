"""Refuses a distillation whose teacher reads other tokens than its student writes."""

from pathlib import Path

from core.base_files.tokenizers import difference, has_tokenizer
from core.catalog import offered_models
from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.distillation import TEACHER, Distillation
from core.serving.served_model import ServedModel
from core.settings import Settings
from worker.base_models.model_store import ensure_tokenizer


def refuse_other_tokenizer(spec: JobSpec, student: Path, settings: Settings) -> None:
    """Raise JobError if the teacher's base model has another tokenizer or chat template than the student's.

    `student` is the folder of the student's base model. The tokenizer of the teacher's is fetched if it is
    missing, which may raise OutsideFault. Other jobs than distillations have no teacher, and pass.
    """
    if not isinstance(spec.objective, Distillation):
        return
    name = ServedModel.model_validate(spec.grader_models[spec.objective.teacher]).base
    if name == spec.base_model:
        return
    entry = offered_models(settings).get(name)
    if entry is None:
        reason = f"The teacher's base model '{name}' is not on offer any more. Name another teacher."
        raise JobError("model_not_found", reason, TEACHER)
    told = _difference(student, ensure_tokenizer(entry, settings.models_folder))
    if told is not None:
        raise JobError(
            "other_tokenizer",
            f"The teacher is on the base model '{name}', whose tokenizer is not that of '{spec.base_model}'. "
            f"{told} Name a teacher of the same family.",
            TEACHER,
        )


def _difference(student: Path, teacher: Path) -> str | None:
    if not (has_tokenizer(student) and has_tokenizer(teacher)):
        return "One of them has no tokenizer.json, so they cannot be compared."
    return difference(student, teacher)
