"""Finds what `model` stands for: a base or fine-tuned model, a checkpoint, an adapter's id, or an alias."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api.adapters import aliases
from api.adapters import queries as adapters
from api.adapters.service import ADAPTER_ID
from api.models import service as models
from api.models.queries import TunedModel
from core.catalog import Catalog, Precision
from core.errors import NotFound
from core.serving.served_model import ServedModel, StoredAdapter
from core.tables import Adapter, Checkpoint, Job

PRECISION = Job.spec["training"]["quantization"].astext


class ChatModel(NamedTuple):
    """A model that a project may chat with: its name in answers and in the usage, and what is loaded."""

    name: str
    served: ServedModel


class _Stored(NamedTuple):
    base_model: str
    object_prefix: str
    files: Sequence[dict[str, Any]]
    precision: Precision | None


def resolve(
    session: Session, project_id: str, catalog: Catalog, name: str, key: Callable[[], str]
) -> ChatModel:
    """Return the model of this name. Raises NotFound, also if the project may not see it.

    `key` decides which model answers if an alias leads to several: equal keys get the same.
    """
    alias = aliases.find(session, project_id, name) if aliases.may_be_alias(name) else None
    if alias is not None:
        name = aliases.chosen(alias.weights, key)
    if catalog.get(name) is not None:
        return ChatModel(name, ServedModel(base=name))
    name, stored = _of_adapter(session, project_id, name) or _of_model(session, project_id, name)
    if catalog.get(stored.base_model) is None:
        raise NotFound(
            f"The model '{name}' was trained on '{stored.base_model}', which is not on offer any more. Ask "
            "the operator to put it back into the catalog.",
            code="model_not_found",
            param="model",
        )
    adapter = StoredAdapter.of(stored.object_prefix, stored.files)
    served = ServedModel(base=stored.base_model, adapter=adapter, precision=stored.precision)
    return ChatModel(name, served)


def _of_adapter(session: Session, project_id: str, adapter_id: str) -> tuple[str, _Stored] | None:
    """Return the adapter with this id under the name of its model, or None if it is not an adapter's id.

    Raises NotFound if the project may not read the adapter.
    """
    if not ADAPTER_ID.fullmatch(adapter_id):
        return None
    row = adapters.find(session, project_id, adapter_id)
    if row is None:
        raise models.unknown(adapter_id)
    return row.model, _Stored(row.base_model, row.adapter.object_prefix, row.adapter.files, row.precision)


def _of_model(session: Session, project_id: str, name: str) -> tuple[str, _Stored]:
    """Return the files of a fine-tuned model or of a checkpoint. Raises NotFound."""
    model = models.visible(session, project_id, name)
    row = session.execute(_files_of(model)).one_or_none()
    if row is None:  # deleted since it was found
        raise models.unknown(name)
    return name, _Stored(*row)


def _files_of(model: TunedModel) -> Select[*tuple[Any, ...]]:
    if model.adapter_id is not None:
        base_model = func.coalesce(Job.base_model, Adapter.base_model)
        query = select(base_model, Adapter.object_prefix, Adapter.files, PRECISION)
        return query.outerjoin(Job, Job.id == Adapter.job_id).where(Adapter.id == model.adapter_id)
    of_step = select(Job.base_model, Checkpoint.object_prefix, Checkpoint.files, PRECISION)
    joined = of_step.join(Job, Job.id == Checkpoint.job_id)
    return joined.where(Job.id == model.job_id, Checkpoint.step == model.step)
