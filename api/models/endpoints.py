"""/v1/models: list, read and delete models. Aliases are listed and read like models."""

from functools import partial

from api.admission.auth import CurrentCaller
from api.dependencies import ModelCatalog, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, deleted
from api.http.routers import feature
from api.models import service
from api.models.schemas import ModelDeleted, ModelList, ModelObject
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied

router = feature("/v1/models", "Models")


@router.get("")
def list_models(session: Transaction, caller: CurrentCaller, catalog: ModelCatalog) -> ModelList:
    """List the base models on offer, the project's fine-tuned models, those shared with it, and its aliases.

    Fine-tuned models come newest first: at most 1,000 of the project, and 1,000 that are shared with it.
    """
    models, has_more = service.list_newest(session, caller.project_id, catalog)
    return ModelList(data=models, has_more=has_more)


@router.get("/{model:path}", responses=declared(NotFound))
def retrieve_model(
    session: Transaction, caller: CurrentCaller, catalog: ModelCatalog, model: str
) -> ModelObject:
    """Return a base model, a fine-tuned model or checkpoint that the project may see, or an alias."""
    return service.get(session, caller.project_id, catalog, model)


@router.delete("/{model:path}", responses=declared(NotFound, PermissionDenied, InvalidRequest, Conflict))
def delete_model(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, catalog: ModelCatalog, model: str
) -> ModelDeleted:
    """Delete a fine-tuned model and its adapter. The job's record and its checkpoints stay.

    A model to which an alias leads is not deleted.
    """
    delete = partial(service.delete, session, caller.project_id, catalog, model)
    return deleted(session, attempt, ModelDeleted(id=model), "model.deleted", delete)
