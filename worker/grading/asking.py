"""Asks the servers that are running, as the API does.

It waits for room in the project's quotas, and for a server if there is none.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from core.errors import AppError, InvalidRequest, JobError, OutsideFault, RateLimited, Unavailable
from core.serving.dispatch.dispatcher import Dispatcher
from core.serving.dispatch.errors import RefusedByServer, ServerLost
from core.serving.paths import COMPLETIONS
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.coherence import check_chat, check_completion, parse
from core.serving.schemas.completions import CompletionRequest
from core.serving.served_model import SERVED_FIELD, ServedModel
from core.serving.token import server_token
from core.settings import Settings
from worker.grading.quota import ChatQuota
from worker.grading.row_failed import RowFailed

PAUSE_SECONDS = 0.5
MOST_LOSSES = 2  # servers that one row may bring down before it counts as the cause
PASSING = (429, 503)  # statuses after which another try may succeed
OF_THE_MODEL = (  # every row would be refused
    "adapter_damaged",
    "model_not_found",
    "model_unavailable",
    "server_unsuited",
    "unsupported_model",
)


class Asking:
    """Sends requests to servers. Only the event loop may call."""

    def __init__(
        self, dispatcher: Dispatcher, quota: ChatQuota, project_id: str, wait_seconds: float
    ) -> None:
        self._dispatcher, self._quota = dispatcher, quota
        self._project_id, self._wait_seconds = project_id, wait_seconds
        self._unanswered: set[str] = set()

    @property
    def waits_for(self) -> str | None:
        """A base model for which no server has answered since a request for it was put off."""
        return next(iter(self._unanswered), None)

    async def ask(
        self, path: str, model: ServedModel, body: Mapping[str, Any], count: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Return the answer of a server, once there is one.

        `count` gets the `usage` of the answer, and of what a server has computed for one that was given up.
        Raises RowFailed if the servers refuse this request or it brings them down, JobError if they refuse
        the model or none has been running for too long, and OutsideFault if all have been busy for too long.
        """
        beginning = request_of(path, body).beginning
        content = json.dumps({**body, SERVED_FIELD: model.as_sent()}).encode()
        losses = 0
        waits_since: float | None = None
        reason: Exception
        used: list[dict[str, Any]] = []
        while True:
            async with self._quota.room() as waited:
                waits_since = waits_since and waits_since + waited
                try:
                    async with self._dispatcher.begun(
                        path, model, beginning, content, self._project_id, used.append
                    ) as response:
                        found = dict(json.loads(await response.aread()))
                    self._unanswered.discard(model.base)
                    used.append(found.get("usage") or {})
                    return found
                except RefusedByServer as error:
                    self._unanswered.discard(model.base)
                    reason = _passing(error)
                except (ServerLost, httpx.HTTPError) as error:
                    losses += error.servers if isinstance(error, ServerLost) else 1
                    if losses >= MOST_LOSSES:
                        message = f"{losses} servers stopped while they worked on this row."
                        raise RowFailed("server_lost", message) from error
                    reason, waits_since = error, None  # a server had taken the row, so the wait begins anew
                except (Unavailable, RateLimited) as error:
                    reason = error
                finally:
                    while used:
                        count(used[-1])
                        await self._quota.count(used.pop())
            self._unanswered.add(model.base)
            waits_since = waits_since or time.monotonic()
            self._give_up_in_time(model.base, reason, waits_since)
            await asyncio.sleep(PAUSE_SECONDS)

    def _give_up_in_time(self, base: str, reason: Exception, since: float) -> None:
        if time.monotonic() - since < self._wait_seconds:
            return
        if isinstance(reason, RateLimited):
            raise OutsideFault(f"The servers for '{base}' had no time for {self._wait_seconds:g} seconds")
        message = reason.message if isinstance(reason, AppError) else "The servers stop while they answer."
        raise JobError(
            "no_server",
            f"No server for '{base}' answered for {self._wait_seconds:g} seconds. {message}",
            "model",
        ) from reason


def bearer_token(settings: Settings, *, asks: bool) -> str | None:
    """Return the bearer token to send to servers, or None if the caller never `asks` any and there is none.

    Raises JobError if the caller asks servers and there is none to send.
    """
    if settings.secret_keys is not None:
        return server_token(settings.secret_keys)
    if not asks:
        return None
    raise JobError(
        "not_configured",
        "This worker cannot ask servers, because TUNERY_SECRET_KEYS is not set on it. Ask the operator to "
        "set the same keys on the API, all workers and all servers.",
    )


def request_of(path: str, body: Mapping[str, Any]) -> ChatRequest | CompletionRequest:
    """Return the request, as the API checks a client's. Raises RowFailed for what the API would refuse."""
    try:
        if path == COMPLETIONS:
            check_completion(completion := parse(CompletionRequest, body))
            return completion
        check_chat(chat := parse(ChatRequest, body))
        return chat
    except InvalidRequest as error:
        raise RowFailed(error.code or "refused", error.message) from error


def _passing(error: RefusedByServer) -> RefusedByServer:
    """Return the error if another try may succeed. Raises RowFailed, or JobError if the model is at fault."""
    if error.code in OF_THE_MODEL:
        raise JobError(str(error.code), error.message, "model") from error
    if error.status in PASSING:
        return error
    raise RowFailed(error.code or "refused", error.message) from error
