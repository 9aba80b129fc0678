"""Refuses the teacher of a distillation that cannot teach the job's model, as far as this is known here."""

from api.jobs.creation.found import Found
from api.jobs.creation.refusals import invalid_value
from api.jobs.creation.schemas import CreateJob
from core.base_files.paths import folder_of
from core.base_files.tokenizers import difference, has_tokenizer
from core.catalog import BaseModelEntry, Catalog
from core.errors import InvalidRequest
from core.jobs.spec import JobSpec
from core.objectives.distillation import TEACHER, Distillation
from core.serving.served_model import ServedModel
from core.settings import Settings


def refuse_teacher(
    spec: JobSpec, request: CreateJob, found: Found, catalog: Catalog, settings: Settings
) -> None:
    """Raise InvalidRequest for a teacher that is the student, or that reads other tokens.

    `spec` has what a server loads for the teacher. A base model that is not on this machine is not judged
    here: the worker compares the tokenizers before the job trains.
    """
    if not isinstance(spec.objective, Distillation):
        return
    teacher = spec.objective.teacher
    if teacher == request.model:
        raise invalid_value(TEACHER, "is the model that the job begins with, which it cannot learn from.")
    base = catalog.get(ServedModel.model_validate(spec.grader_models[teacher]).base)
    assert base is not None, "the project may chat with the teacher"
    if (told := _difference(found.base_model, base, settings)) is not None:
        raise InvalidRequest(
            f"'{TEACHER}' is on the base model '{base.id}', whose tokenizer is not that of "
            f"'{found.base_model.id}'. {told} Name a teacher of the same family.",
            code="other_tokenizer",
            param=TEACHER,
        )


def _difference(student: BaseModelEntry, teacher: BaseModelEntry, settings: Settings) -> str | None:
    """Return in what the tokenizers of two base models differ; None if in nothing, or if it is not known."""
    if student.id == teacher.id:
        return None
    folders = [folder_of(entry, settings.models_folder) for entry in (student, teacher)]
    return difference(*folders) if all(has_tokenizer(folder) for folder in folders) else None
