"""Reads and deletes models: the catalog's base models, the project's own, and those shared with it.

An alias is listed among the models, and read by its name, but not deleted here.

Nothing here commits.
"""

from sqlalchemy.orm import Session

from api.adapters import aliases
from api.adapters import service as adapters
from api.models import queries
from api.models.queries import TunedModel
from api.models.schemas import ModelObject
from core.catalog import Catalog
from core.errors import InvalidRequest, NotFound, PermissionDenied

LISTED = 1000  # own models, and as many shared ones; OpenAI's list has no pages either


def list_newest(session: Session, project_id: str, catalog: Catalog) -> tuple[list[ModelObject], bool]:
    """Return base models, aliases, the newest own and shared models, and whether there are more models."""
    own, shared = (find(session, project_id, LISTED + 1) for find in (queries.owned, queries.shared))
    tuned = [*own[:LISTED], *shared[:LISTED]]
    listed = [*map(ModelObject.of_base, catalog), *map(ModelObject.of_tuned, tuned)]
    listed += [ModelObject.of_alias(alias, owner) for alias, owner in queries.aliases(session, project_id)]
    return listed, max(len(own), len(shared)) > LISTED


def get(session: Session, project_id: str, catalog: Catalog, name: str) -> ModelObject:
    """Return a base model, a fine-tuned model, a checkpoint or an alias.

    An alias is older than a base model of the same name, and goes first, as in chats. Raises NotFound, also
    for a model of another project that is not shared with this one.
    """
    for alias, owner in queries.aliases(session, project_id, name):
        return ModelObject.of_alias(alias, owner)
    entry = catalog.get(name)
    if entry is not None:
        return ModelObject.of_base(entry)
    return ModelObject.of_tuned(visible(session, project_id, name))


def delete(session: Session, project_id: str, catalog: Catalog, name: str) -> None:
    """Delete a fine-tuned model and its adapter.

    Raises NotFound, also the second time. Raises PermissionDenied for a base model and for another project's
    model, InvalidRequest for a checkpoint and an alias, and Conflict if an alias leads to the model.
    """
    if aliases.find(session, project_id, name) is not None:
        raise InvalidRequest(
            f"'{name}' is an alias. Delete it by DELETE /v1/aliases/{name}; its models stay.",
            code="model_not_deletable",
            param="model",
        )
    if catalog.get(name) is not None:
        raise PermissionDenied(
            f"'{name}' is a base model. Only the operator can withdraw it, by the catalog.",
            code="model_not_deletable",
            param="model",
        )
    model = visible(session, project_id, name)
    if model.project_id != project_id:
        raise PermissionDenied(
            f"The model '{name}' is shared with this project. Only the project that owns it can delete it.",
            code="model_not_deletable",
            param="model",
        )
    if model.adapter_id is None:
        raise InvalidRequest(
            f"'{name}' is a checkpoint, and is deleted with its job. Delete a model by its own name.",
            code="model_not_deletable",
            param="model",
        )
    adapters.delete(session, project_id, model.adapter_id)


def visible(session: Session, project_id: str, name: str) -> TunedModel:
    """Return a fine-tuned model or checkpoint that the project owns, or that is shared with it.

    Raises NotFound for all others.
    """
    model = queries.find(session, name)
    if model is None or not (model.project_id == project_id or queries.is_shared(session, name, project_id)):
        raise unknown(name)
    return model


def unknown(name: str) -> NotFound:
    """Return the error for a model that does not exist, or that the project may not see."""
    message = f"The model '{name}' does not exist. GET /v1/models lists the models that you may ask."
    return NotFound(message, code="model_not_found", param="model")
