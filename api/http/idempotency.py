"""Recognises repeated requests: by the header `Idempotency-Key`, or by the retry count of OpenAI's client."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.admission.auth import CurrentCaller, credential_of
from api.schemas import Deleted
from core.access import audit
from core.access.idempotency import Attempt, Stands, once, once_or_again
from core.errors import AppError, NotFound

Answer = TypeVar("Answer", bound=BaseModel)
Gone = TypeVar("Gone", bound=Deleted)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A name that you choose for this request. If you send it again within a day, with the "
        "same name and body, the server does nothing and repeats its first answer",
    ),
]


async def _attempt(
    request: Request, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Attempt:
    retries = request.headers.get("x-stainless-retry-count", "")
    return Attempt(
        actor=caller,
        route=f"{request.method} {request.url.path}",
        idempotency_key=idempotency_key,
        retry_count=int(retries) if retries.isdecimal() and len(retries) < 4 else 0,
        arrived=request.state.arrived,
        credential=credential_of(request.scope),
    )


ThisAttempt = Annotated[Attempt, Depends(_attempt)]


def found_by(find: Callable[..., object], *of: object) -> Stands:
    """Return a check of whether what an answer shows is still there, for `once`.

    `find` gets the session, `of` and the answer's id. It raises an AppError if nothing is there.
    """

    def is_found(session: Session, answer: dict[str, Any]) -> bool:
        try:
            find(session, *of, answer["id"])
        except AppError:
            return False
        return True

    return is_found


def created(
    session: Session,
    attempt: Attempt,
    answer: type[Answer],
    asked: BaseModel | str,
    create: Callable[[], Answer],
    stands: Stands,
    *,
    shows_secret: bool = False,
) -> Answer:
    """Return the answer of `create`, or of an earlier attempt at `asked`: see `once`."""
    content = asked if isinstance(asked, str) else asked.model_dump_json()

    def act() -> dict[str, Any]:
        return create().model_dump(mode="json", by_alias=True)

    return answer.model_validate(once(session, attempt, content, act, stands, shows_secret=shows_secret))


def deleted(
    session: Session, attempt: Attempt, answer: Gone, action: str, delete: Callable[[], object]
) -> Gone:
    """Delete something, and write it to the audit log as `action`. Return `answer`, also for a repetition."""

    def act() -> Gone:
        delete()
        audit.record(session, attempt.actor, action, answer.id)
        return answer

    return repeatable(session, attempt, type(answer), act)


def repeatable(
    session: Session,
    attempt: Attempt,
    answer: type[Answer],
    act: Callable[[], Answer],
    done: str | None = None,
) -> Answer:
    """Return the answer of `act`, or of an earlier attempt at the same request, which has no body.

    A client whose answer was lost sends the request again. Without this, it would learn that there is
    nothing left to delete, or that the job is paused already. `done` is the code of that refusal; None is for
    a NotFound.
    """

    def is_done(refusal: AppError) -> bool:
        return isinstance(refusal, NotFound) if done is None else refusal.code == done

    return answer.model_validate(
        once_or_again(session, attempt, lambda: act().model_dump(mode="json"), is_done)
    )
