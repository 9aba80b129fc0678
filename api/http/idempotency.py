"""Recognises repeated requests: by the header `Idempotency-Key`, or by the retry count of OpenAI's client."""

from typing import Annotated

from fastapi import Depends, Header, Request

from api.admission.auth import CurrentCaller, token_of
from core.access.idempotency import Attempt

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
        token=token_of(request.scope),
    )


ThisAttempt = Annotated[Attempt, Depends(_attempt)]
