"""Finds the model that a new job begins with: a base model, or an adapter from which the job continues."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.adapters import queries as adapters
from api.adapters.service import ADAPTER_ID
from api.jobs.creation.schemas import CreateJob
from api.models import service as models
from api.models.queries import TunedModel, keep
from core.catalog import BaseModelEntry, Catalog
from core.errors import InvalidRequest, NotFound
from core.jobs.lineage import Ancestor, lineage_of
from core.jobs.search import ADAPTER
from core.methods.low_rank import LoraAdapter
from core.methods.offered import OPTIONS
from core.serving import aliases
from core.serving.served_model import StoredAdapter
from core.tables import Checkpoint, Job

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
    alias = aliases.find(session, project_id, name) if aliases.may_be_alias(name) else None
    if alias is not None:
        if len(alias.weights) > 1:
            raise _refusal(
                f"The alias '{name}' leads to several models. Name one of them.", "ambiguous_alias"
            )
        name = next(iter(alias.weights))
    if (entry := catalog.get(name)) is not None:
        return Beginning(entry)
    model = _visible(session, project_id, catalog, name)
    if model.project_id == project_id and not keep(session, model):
        raise _refusal(
            f"'{model.name}' is being deleted, or is a checkpoint of a job that still trains and may remove "
            "it. Wait until that job has ended.",
            "model_not_kept",
        )
    job, ancestor, options, base_model = _described(session, model)
    entry = catalog.get(base_model)
    if entry is None:
        raise _refusal(
            f"'{model.name}' was trained on '{base_model}', which is not on offer any more. Ask the operator "
            "to put it back into the catalog.",
            "model_not_available",
        )
    earlier = [Ancestor.model_validate(each) for each in lineage_of(job.spec)] if job else []
    return Beginning(entry, _continued(model.name, options), [ancestor, *earlier])


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


def _visible(session: Session, project_id: str, catalog: Catalog, name: str) -> TunedModel:
    try:
        if ADAPTER_ID.fullmatch(name):
            row = adapters.find(session, project_id, name)
            name = row.model if row else name
        return models.visible(session, project_id, name)
    except NotFound as error:
        raise _refusal(
            f"The model {name[:128]!r} cannot be fine-tuned on this server. On offer: "
            f"{', '.join(entry.id for entry in catalog)}, and the project's fine-tuned models.",
            "model_not_available",
        ) from error


def _described(session: Session, model: TunedModel) -> tuple[Job | None, Ancestor, Mapping[str, Any], str]:
    """Return the job of the model, its place in a lineage, the options of its adapter and its base model."""
    job = session.get(Job, model.job_id) if model.job_id else None
    if model.adapter_id is not None:
        row = adapters.find(session, model.project_id, model.adapter_id)
        if row is None:
            raise _refusal(f"The model '{model.name}' has been deleted.", "model_not_available")
        sha256 = StoredAdapter.of(row.adapter.object_prefix, row.adapter.files).sha256
        ancestor = Ancestor(
            model=model.name, adapter_id=model.adapter_id, job_id=model.job_id, step=None, sha256=sha256
        )
        return job, ancestor, row.options, row.base_model
    assert job is not None
    of_step = Checkpoint.job_id == job.id, Checkpoint.step == model.step
    checkpoint = session.scalars(select(Checkpoint).where(*of_step)).one()
    sha256 = StoredAdapter.of(checkpoint.object_prefix, checkpoint.files).sha256
    ancestor = Ancestor(model=model.name, adapter_id=None, job_id=job.id, step=model.step, sha256=sha256)
    return job, ancestor, job.spec["adapter"], job.base_model


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
