"""/v1/models: list, read."""

from fastapi import APIRouter

from api.auth import CurrentCaller
from api.dependencies import ModelCatalog, Transaction
from api.errors import declared
from api.models import service
from api.models.schemas import ModelList, ModelObject
from core.errors import NotAuthenticated, NotFound, Unavailable

router = APIRouter(prefix="/v1/models", tags=["Models"], responses=declared(NotAuthenticated, Unavailable))


@router.get("")
def list_models(session: Transaction, caller: CurrentCaller, catalog: ModelCatalog) -> ModelList:
    """The base models on offer, and the project's fine-tuned models, newest first."""
    return ModelList(data=service.list_all(session, caller.project_id, catalog))


@router.get("/{model:path}", responses=declared(NotFound))
def retrieve_model(
    session: Transaction, caller: CurrentCaller, catalog: ModelCatalog, model: str
) -> ModelObject:
    return service.get(session, caller.project_id, catalog, model)
