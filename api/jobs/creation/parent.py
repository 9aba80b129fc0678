"""Finds the model that a new job begins with: a base model, or an adapter from which the job continues."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.jobs.creation.schemas import CreateJob
from api.models.parents import parent_named, without_alias
from core.catalog import BaseModelEntry, Catalog
from core.errors import InvalidRequest, NotFound
from core.jobs.lineage import Ancestor
from core.jobs.search import ADAPTER
from core.methods.low_rank import LoraAdapter
from core.methods.offered import OPTIONS

# Options that decide how an adapter is trained, and not what it is
MAY_DIFFER = ("type", "lora_dropout")


class Beginning(NamedTuple):
    """The base model of a job, and the adapter that it continues from, if any, with the adapter's lineage."""

    base_model: BaseModelEntry
    adapter: LoraAdapter | None = None
    lineage: Collection[Ancestor] = ()


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
    return Beginning(parent.base_model, _continued(parent.itself.model, parent.options), parent.lineage)


def adapter_to_train(request: CreateJob, parent: LoraAdapter) -> LoraAdapter:
    """Return the options of an adapter that continues from `parent`: the parent's own.

    Raises InvalidRequest if the request asks for another adapter.
    """
    asked = request.adapter
    if asked is None:
        return parent
    for name in ("type", *sorted(asked.model_fields_set - {"type"})):
        if name not in MAY_DIFFER[1:] and _differ(getattr(asked, name), getattr(parent, name, None)):
            own = getattr(parent, name, None)
            raise InvalidRequest(
                f"'{ADAPTER}{name}' is {getattr(asked, name)!r}, but the job continues from an adapter with "
                f"{own!r}, and goes on with the same adapter. Leave '{ADAPTER}{name}' out, or name a base "
                "model in 'model'.",
                code="invalid_value",
                param=f"{ADAPTER}{name}",
            )
    if "lora_dropout" in asked.model_fields_set:
        return parent.model_copy(update={"lora_dropout": getattr(asked, "lora_dropout", 0.0)})
    return parent


def refuse_swept_adapters(swept: Collection[str]) -> None:
    """Raise InvalidRequest if a sweep that continues from one adapter tries several adapters."""
    if others := sorted(place for place in swept if place.startswith(ADAPTER)):
        raise InvalidRequest(
            f"'parameters.{others[0]}' tries several adapters, but the job continues from one. Leave it out, "
            "or name a base model in 'model'.",
            code="invalid_value",
            param=f"parameters.{others[0]}",
        )


def _continued(name: str, options: Mapping[str, Any]) -> LoraAdapter:
    """Return the options of the plain LoRA that a job with these options has published."""
    if options.get("type") != "lora":
        raise _refusal(
            f"A job can continue from a LoRA adapter, but '{name}' is {options.get('type')!r}. Train it "
            "once more from its base model, with more epochs or rows.",
            "model_not_continuable",
        )
    advice = "Download it and import it by POST /v1/adapters: a job can continue from the imported one."
    try:
        parent = LoraAdapter.model_validate(options)
        plain: dict[str, Any] = {"init_lora_weights": True, "eva_config": None, "corda_config": None}
        if parent.init_lora_weights == "eva":
            raise _refusal(
                f"'{name}' was begun by 'eva', which gave each module a rank of its own. {advice}",
                "model_not_continuable",
            )
        if parent.begins_with_weights:  # it was published with twice the rank
            if parent.use_rslora or parent.rank_pattern or parent.alpha_pattern:
                raise _refusal(
                    f"'{name}' was begun by '{parent.init_lora_weights}' and published with other ranks and "
                    f"scales than it was trained with. {advice}",
                    "model_not_continuable",
                )
            plain |= {"r": 2 * parent.r, "lora_alpha": 2 * parent.lora_alpha}
        offered = OPTIONS["lora"].model_validate(parent.model_dump() | plain)
        assert isinstance(offered, LoraAdapter)
        return offered
    except ValidationError as error:
        first = error.errors()[0]
        raise _refusal(
            f"This server cannot train the adapter of '{name}' further, because of its '{first['loc'][0]}': "
            f"{first['msg']}.",
            "model_not_continuable",
        ) from error


def _differ(asked: Any, own: Any) -> bool:
    if isinstance(asked, list) and isinstance(own, list):
        return set(map(str, asked)) != set(map(str, own))
    return bool(asked != own)


def _refusal(message: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="model")
