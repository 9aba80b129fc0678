"""Finds the stored adapter behind a model's name, of which a job or a composition makes another adapter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.adapters import aliases
from api.adapters import queries as adapters
from api.adapters.service import ADAPTER_ID
from api.models import service as models
from api.models.queries import TunedModel, keep
from core.catalog import BaseModelEntry, Catalog, Precision
from core.errors import InvalidRequest, NotFound
from core.jobs.adapter_row import AdapterRow, precision_of
from core.jobs.ancestor import Ancestor
from core.jobs.lineage import lineage_of
from core.methods.method import with_seeds
from core.serving.served_model import StoredAdapter
from core.tables import Checkpoint, Job


class Parent(NamedTuple):
    """A stored adapter: its base model, its method with options, and its lineage, which it begins.

    `precision` is that of the weights that it was trained on, None if it is the base model's own. Seeds among
    the options are those that were drawn with, also if the job's specification left them out.
    """

    base_model: BaseModelEntry
    options: Mapping[str, Any]
    lineage: Sequence[Ancestor]
    precision: Precision | None

    @property
    def itself(self) -> Ancestor:
        return self.lineage[0]


def model_named(
    session: Session,
    project_id: str,
    catalog: Catalog,
    name: str,
    param: str,
    unknown: Callable[[str], InvalidRequest],
) -> BaseModelEntry | Parent:
    """Return the base model, or the stored adapter, that `name` means. The name may be an alias.

    The adapter is named by its id, its fine-tuned model or a checkpoint. It is kept from deletion in this
    transaction. Raises `unknown` of the model's name if there is no such model. Raises InvalidRequest if an
    alias leads to several models, if the model is a checkpoint of another project, if it will not stay, or if
    its base model is not on offer any more.
    """
    alias = aliases.find(session, project_id, name) if aliases.may_be_alias(name) else None
    if alias is not None:
        if len(alias.weights) > 1:
            raise InvalidRequest(
                f"The alias '{name}' leads to several models. Name one of them.",
                code="ambiguous_alias",
                param=param,
            )
        name = next(iter(alias.weights))
    if (entry := catalog.get(name)) is not None:
        return entry
    row = adapters.find(session, project_id, name) if ADAPTER_ID.fullmatch(name) else None
    try:
        model = models.visible(session, project_id, row.model if row else name)
        _refuse_unkept(session, project_id, model, param)
        found = _described(session, model, param)
    except NotFound as error:
        raise unknown(name) from error
    base_model = catalog.get(found.base_model)
    if base_model is None:
        raise InvalidRequest(
            f"'{model.name}' was trained on '{found.base_model}', which is not on offer any more. Ask the "
            "operator to put it back into the catalog.",
            code="model_not_available",
            param=param,
        )
    return Parent(base_model, found.options, found.lineage, found.precision)


def _refuse_unkept(session: Session, project_id: str, model: TunedModel, param: str) -> None:
    """Keep a model from deletion. Raise InvalidRequest if the project can make no adapter of it."""
    if model.project_id != project_id and model.adapter_id is None:
        raise InvalidRequest(
            f"'{model.name}' is a checkpoint that another project shares. You may chat with it; its weights "
            "stay with its owner.",
            code="checkpoint_not_continuable",
            param=param,
        )
    if model.project_id == project_id and not keep(session, model):
        raise InvalidRequest(
            f"'{model.name}' is being deleted, or is a checkpoint of a job that still trains and may remove "
            "it. Wait until that job has ended.",
            code="model_not_kept",
            param=param,
        )


class _Described(NamedTuple):
    base_model: str
    options: Mapping[str, Any]
    lineage: Sequence[Ancestor]
    precision: Precision | None


def _described(session: Session, model: TunedModel, param: str) -> _Described:
    """Return what is stored of the adapter. Raises NotFound, and InvalidRequest as `_checkpoint` does."""
    if model.adapter_id is None:
        return _checkpoint(session, model, param)
    row = adapters.find(session, model.project_id, model.adapter_id)
    if row is None:  # another project has deleted it since it was found
        raise models.unknown(model.name)
    stored = StoredAdapter.of(row.adapter.object_prefix, row.adapter.files)
    return _Described(row.base_model, _options(row), _lineage(model, stored, row.lineage), row.precision)


def _options(row: AdapterRow) -> Mapping[str, Any]:
    """Return the options of an adapter, which changes no other experts than its files do.

    A null `target_parameters` means all experts that workers can train, and a newer release may train more.
    """
    if row.job is None:
        return row.options
    options, training = _drawn_options(row.job.spec), row.adapter.training
    is_open = options["type"] == "lora" and options.get("target_parameters") is None
    if is_open and training.get("decoder", "fast") != "fast" and not training.get("target_parameters"):
        return {**options, "target_parameters": []}
    return options


def _checkpoint(session: Session, model: TunedModel, param: str) -> _Described:
    """Return what is stored of a checkpoint.

    Raises NotFound, and InvalidRequest if its job trained several candidates. The checkpoint then holds the
    adapter of the candidate that was the best at that step, and its row does not say which one that was.
    """
    job = session.get_one(Job, model.job_id)
    if job.spec["search"] is not None:
        raise InvalidRequest(
            f"'{model.name}' is a checkpoint of a job with several candidates. It does not say which "
            "candidate's adapter it holds, so no other adapter can be made of it. Name the job's model "
            "instead.",
            code="model_not_continuable",
            param=param,
        )
    of_step = Checkpoint.job_id == job.id, Checkpoint.step == model.step
    checkpoint = session.scalars(select(Checkpoint).where(*of_step)).one_or_none()
    if checkpoint is None:  # it was removed since it was found
        raise models.unknown(model.name)
    stored = StoredAdapter.of(checkpoint.object_prefix, checkpoint.files)
    lineage = _lineage(model, stored, lineage_of(job.spec))
    return _Described(job.base_model, _drawn_options(job.spec), lineage, precision_of(job.spec))


def _drawn_options(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return with_seeds(spec["adapter"], spec["seed"])


def _lineage(
    model: TunedModel, stored: StoredAdapter, earlier: Sequence[Mapping[str, Any]]
) -> Sequence[Ancestor]:
    itself = Ancestor(
        model=model.name,
        adapter_id=model.adapter_id,
        job_id=model.job_id,
        step=model.step,
        sha256=stored.sha256,
    )
    return [itself, *map(Ancestor.model_validate, earlier)]
