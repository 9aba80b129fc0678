"""Finds the model that a new job begins with: a base model, or an adapter from which the job continues."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.jobs.creation.schemas import CreateJob
from api.models.parents import parent_named, without_alias
from core.catalog import BaseModelEntry, Catalog, Precision
from core.errors import InvalidRequest, NotFound
from core.jobs.lineage import Ancestor
from core.jobs.search import ADAPTER
from core.methods.registry import METHODS, AdapterOptions


class Beginning(NamedTuple):
    """The base model of a job, and the adapter that it continues from, if any, with the adapter's lineage.

    `precision` is the one that the adapter was trained in, None if that is the base model's own.
    """

    base_model: BaseModelEntry
    adapter: AdapterOptions | None = None
    lineage: Collection[Ancestor] = ()
    precision: Precision | None = None


def beginning_of(session: Session, project_id: str, catalog: Catalog, name: str) -> Beginning:
    """Return what a job on the model `name` begins with, and keep that from deletion in this transaction.

    Raises InvalidRequest if there is no such model, or if no job can continue from it.
    """
    name = without_alias(session, project_id, name, "model")
    if (entry := catalog.get(name)) is not None:
        return Beginning(entry)
    try:
        parent = parent_named(session, project_id, catalog, name, "model")
    except NotFound as error:
        raise _refusal(
            f"The model {name[:128]!r} cannot be fine-tuned on this server. On offer: "
            f"{', '.join(entry.id for entry in catalog)}, and the project's fine-tuned models.",
            "model_not_available",
        ) from error
    adapter = _continued(parent.itself.model, parent.options)
    return Beginning(parent.base_model, adapter, parent.lineage, parent.precision)


def adapter_to_train(request: CreateJob, parent: AdapterOptions) -> AdapterOptions:
    """Return the options of an adapter that continues from `parent`: the parent's own.

    Only options that decide nothing but the training are the request's. Raises InvalidRequest if the request
    asks for another adapter.
    """
    asked = request.adapter
    if asked is None:
        return parent
    if asked.type != parent.type:
        raise _other_adapter("type", asked.type, parent.type, leave_out="adapter")
    given = asked.model_fields_set - {"type"}
    for name in sorted(given - parent.only_in_training):
        if _differ(getattr(asked, name), getattr(parent, name)):
            raise _other_adapter(name, getattr(asked, name), getattr(parent, name), f"{ADAPTER}{name}")
    return parent.model_copy(update={name: getattr(asked, name) for name in given & parent.only_in_training})


def _other_adapter(name: str, asked: Any, own: Any, leave_out: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{ADAPTER}{name}' is {asked!r}, but the job continues from an adapter with {own!r}, and goes on "
        f"with the same adapter. Leave '{leave_out}' out, or name a base model in 'model'.",
        code="invalid_value",
        param=f"{ADAPTER}{name}",
    )


def refuse_swept_adapters(swept: Collection[str]) -> None:
    """Raise InvalidRequest if a sweep that continues from one adapter tries several adapters."""
    if others := sorted(place for place in swept if place.startswith(ADAPTER)):
        raise InvalidRequest(
            f"'parameters.{others[0]}' tries several adapters, but the job continues from one. Leave it out, "
            "or name a base model in 'model'.",
            code="invalid_value",
            param=f"parameters.{others[0]}",
        )


def _continued(name: str, options: Mapping[str, Any]) -> AdapterOptions:
    """Return the options of an adapter that a job on this release can train further.

    Raises InvalidRequest if this release does not train such adapters, or if a part of it was not published.
    """
    method = METHODS.get(options["type"])
    if method is None:
        raise _refusal(
            f"This server does not train the method of '{name}', which is {options['type']!r}.",
            "model_not_continuable",
        )
    try:
        parent = cast(AdapterOptions, method.options.model_validate(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise _refusal(
            f"This server cannot train the adapter of '{name}' further, because of its '{first['loc'][0]}': "
            f"{first['msg']}.",
            "model_not_continuable",
        ) from error
    if parent.unpublished is not None:
        raise _refusal(
            f"No job can continue from '{name}': its published files do not have {parent.unpublished}. "
            "Train it once more from its base model, with more epochs or rows.",
            "model_not_continuable",
        )
    return parent


def _differ(asked: Any, own: Any) -> bool:
    if isinstance(asked, list) and isinstance(own, list):
        return set(map(str, asked)) != set(map(str, own))
    return bool(asked != own)


def _refusal(message: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="model")
