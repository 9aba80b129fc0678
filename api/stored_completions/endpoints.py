"""/v1/chat/completions: list, read, change, rate and delete stored completions. `api.chat` makes them."""

from typing import Annotated, Literal

from fastapi import Query, Request

from api.admission.auth import CurrentCaller
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, repeatable
from api.http.metadata import metadata_in, metadata_parameter
from api.http.paging import After, Limit
from api.http.routers import feature
from api.schemas import Page
from api.stored_completions import service
from api.stored_completions.queries import Selection
from api.stored_completions.schemas import (
    CompletionDeleted,
    Moment,
    RateCompletion,
    RatingFilter,
    StoredCompletionObject,
    StoredMessage,
    UpdateCompletion,
)
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, TooLarge

Order = Annotated[Literal["asc", "desc"], Query(description="`asc`: the oldest first")]

router = feature("/v1/chat/completions", "Stored completions")


@router.get("", responses=declared(InvalidRequest), openapi_extra=metadata_parameter("completions"))
def list_completions(
    request: Request,
    session: Transaction,
    caller: CurrentCaller,
    model: Annotated[str | None, Query(max_length=512, description="The model that answered")] = None,
    rating: Annotated[RatingFilter | None, Query(description="`none`: without a rating")] = None,
    start_time: Annotated[Moment | None, Query(description="Made at this moment or later")] = None,
    end_time: Annotated[Moment | None, Query(description="Made before this moment")] = None,
    limit: Limit = 20,
    order: Order = "asc",
    after: After = None,
) -> Page[StoredCompletionObject]:
    """List the chat completions that were made with `store: true`, by default the oldest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    pairs, without = metadata_in(request)
    selection = Selection(model, pairs, without, rating, start_time, end_time)
    found, has_more = service.list_page(session, caller, selection, after, limit, order)
    return Page.of([StoredCompletionObject.of(stored) for stored in found], has_more)


@router.get("/{completion_id}", responses=declared(NotFound))
def retrieve_completion(
    session: Transaction, caller: CurrentCaller, completion_id: str
) -> StoredCompletionObject:
    """Return a stored completion."""
    return StoredCompletionObject.of(service.get(session, caller, completion_id))


@router.post("/{completion_id}", responses=declared(InvalidRequest, NotFound, TooLarge, QuotaExceeded))
def update_completion(
    session: Transaction, caller: CurrentCaller, completion_id: str, body: UpdateCompletion
) -> StoredCompletionObject:
    """Replace the metadata of a stored completion."""
    changed = service.set_metadata(session, caller, completion_id, body.metadata or {})
    return StoredCompletionObject.of(changed)


@router.delete("/{completion_id}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_completion(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, completion_id: str
) -> CompletionDeleted:
    """Delete a stored completion. Files that were made of it stay."""

    def delete() -> CompletionDeleted:
        service.delete(session, caller, completion_id)
        return CompletionDeleted(id=completion_id)

    return repeatable(session, attempt, CompletionDeleted, delete)


@router.get("/{completion_id}/messages", responses=declared(InvalidRequest, NotFound))
def list_messages(
    session: Transaction,
    caller: CurrentCaller,
    completion_id: str,
    limit: Limit = 20,
    order: Order = "asc",
    after: After = None,
) -> Page[StoredMessage]:
    """List the messages of a stored completion's request, by default from the first on."""
    stored = service.get(session, caller, completion_id)
    return Page.of(*service.messages(stored, after, limit, order))


@router.post("/{completion_id}/rating", responses=declared(InvalidRequest, NotFound, TooLarge, QuotaExceeded))
def rate_completion(
    session: Transaction, caller: CurrentCaller, completion_id: str, body: RateCompletion
) -> StoredCompletionObject:
    """Rate the first answer of a stored completion, with the answer that it should have been if you like.

    The request replaces an earlier rating. Datasets of preferences are made of ratings.
    """
    return StoredCompletionObject.of(service.rate(session, caller, completion_id, body))
