"""/v1/adapters/compose and /v1/adapters/compositions: make one adapter of several."""

from functools import partial

from api.compositions import service
from api.compositions.schemas import CompositionObject
from api.compositions.service import COMPOSITIONS
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.routers import feature
from api.work.creation import Context, create_task
from api.work.endpoints import add_task_routes
from core.compositions.requests import ComposeRequest
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited, TooLarge

router = feature("/v1/adapters", "Adapters")


@router.post("/compose", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def compose_adapters(session: Transaction, context: Context, body: ComposeRequest) -> CompositionObject:
    """Start to compose several LoRA adapters of one base model into one.

    Read the composition until its `status` is `succeeded` or `failed`. Its result is an adapter like any
    other: chat with it, export it, continue from it. An adapter may also be one of a model that is shared
    with the project.
    """
    check = partial(service.check, session, context, body)
    return create_task(session, context, COMPOSITIONS, body.model_dump_json(), check)


add_task_routes(router, COMPOSITIONS, "/compositions", undeclared=(NotFound,))
