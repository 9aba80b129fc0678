"""Finds what a request for a job names: a model, files, a secret, the models of graders, and a teacher."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.eval_requests.check import NamedModel, grader_models, models_of
from api.files.queries import find_for_job
from api.jobs.creation.schemas import CreateJob
from api.models.chat_models import ChatModel
from api.models.grader_models import finder
from api.models.parents import Parent, model_named
from core.catalog import BaseModelEntry, Catalog, Precision
from core.errors import InvalidRequest
from core.ids import new_id
from core.jobs.ancestor import Ancestor
from core.jobs.integrations import PROJECT_SECRETS
from core.jobs.token_counts import tokenizer_of
from core.methods.registry import METHODS, AdapterOptions
from core.objectives.distillation import TEACHER
from core.objectives.reinforcement import METHOD
from core.tables import ChatTemplate, File, Secret

CRITERIA = "evaluate.criteria"
GRADERS = ("grader", "audit_grader")
"""The names of a job's own graders in `METHOD`"""


@dataclass(frozen=True)
class Found:
    """All that a request for a job names, as it is in this transaction."""

    job_id: str
    """The id of the job that the request may become"""
    base_model: BaseModelEntry
    """The entry of the catalog"""
    adapter: AdapterOptions | None
    """The options of the adapter that the job continues from. None: it begins at the base model"""
    lineage: Sequence[Ancestor]
    """That adapter's lineage"""
    precision: Precision
    """The precision of the base model's weights, unless the request names another one"""
    files: Mapping[str, File]
    """The named files that the project has, by their paths in the request. None can be deleted meanwhile"""
    template: ChatTemplate | None
    """The base model's chat template, if a file needs something of it and a worker has read it"""
    secrets: Mapping[str, Secret]
    """The secrets of the trackers that the request names, by the tracker's type. Those that are missing are
    left out"""
    graders: Mapping[NamedModel, ChatModel | InvalidRequest]
    """The model of each grader, and the teacher, or why the project may not ask it"""


def find(session: Session, project_id: str, catalog: Catalog, request: CreateJob) -> Found:
    """Find what a request names, and keep it from deletion in this transaction.

    Raises InvalidRequest if no job can begin with the model. What else is missing is left out.
    """

    def unknown(name: str) -> InvalidRequest:
        return InvalidRequest(
            f"The model {name[:128]!r} cannot be fine-tuned on this server. On offer: "
            f"{', '.join(entry.id for entry in catalog)}, and the project's fine-tuned models.",
            code="model_not_available",
            param="model",
        )

    job_id = new_id("ftjob-")
    secrets = dict(_secrets(session, project_id, request))
    graders = dict(_graders(session, project_id, catalog, job_id, request))
    model = model_named(session, project_id, catalog, request.model, "model", unknown)
    found = {path: find_for_job(session, project_id, file_id) for path, file_id in request.files.items()}
    files = {path: file for path, file in found.items() if file is not None}
    parent = model if isinstance(model, Parent) else None
    base_model = model.base_model if isinstance(model, Parent) else model
    needs_template = any(file.needs for file in files.values())
    return Found(
        job_id=job_id,
        base_model=base_model,
        adapter=_continued(parent.itself.model, parent.options) if parent else None,
        lineage=parent.lineage if parent else [],
        precision=(parent.precision if parent else None) or base_model.precision,
        files=files,
        template=session.get(ChatTemplate, tokenizer_of(base_model)) if needs_template else None,
        secrets=secrets,
        graders=graders,
    )


def _continued(name: str, options: Mapping[str, Any]) -> AdapterOptions:
    """Return the options of an adapter that a job on this release can train further.

    Raises InvalidRequest if this release does not train such adapters, or if a part of it was not published.
    """
    method = METHODS.get(options["type"])
    if method is None:
        raise _not_continuable(
            f"This server does not train the method of '{name}', which is {options['type']!r}.",
        )
    try:
        parent = cast(AdapterOptions, method.options.model_validate(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise _not_continuable(
            f"This server cannot train the adapter of '{name}' further, because of its '{first['loc'][0]}': "
            f"{first['msg']}.",
        ) from error
    if parent.unpublished is not None:
        raise _not_continuable(
            f"No job can continue from '{name}': its published files do not have {parent.unpublished}. "
            "Train it once more from its base model, with more epochs or rows.",
        )
    return parent


def _not_continuable(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="model_not_continuable", param="model")


def _secrets(session: Session, project_id: str, request: CreateJob) -> Iterator[tuple[str, Secret]]:
    for asked in request.integrations or []:
        name = PROJECT_SECRETS.get(asked.type)
        secret = session.get(Secret, (project_id, name)) if name is not None else None
        if secret is not None:
            yield asked.type, secret


def _graders(
    session: Session, project_id: str, catalog: Catalog, key: str, request: CreateJob
) -> Iterator[tuple[NamedModel, ChatModel | InvalidRequest]]:
    """Yield the model of each grader, and the teacher. If an alias leads to several, `key` chooses one."""
    criteria = (request.evaluate.criteria if request.evaluate else None) or []
    model_of = finder(session, project_id, catalog, key)
    asked = list(grader_models(criteria, CRITERIA))
    for name in GRADERS:
        if (grader := request.options_beside.get(name)) is not None:
            asked += models_of(grader, f"{METHOD}.{name}")
    if (teacher := request.options_beside.get("teacher")) is not None:
        asked.append(NamedModel(teacher, TEACHER))
    for named in asked:
        try:
            yield named, model_of(*named)
        except InvalidRequest as error:
            yield named, error
