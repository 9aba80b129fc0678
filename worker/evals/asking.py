"""Asks the servers that are running, as the API does, and waits for a server if there is none."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from core.errors import AppError, JobError, OutsideFault, RateLimited, Unavailable
from core.serving.dispatch.dispatcher import Dispatcher
from core.serving.dispatch.errors import RefusedByServer, ServerLost
from core.serving.served_model import SERVED_FIELD, ServedModel
from worker.evals.row_failed import RowFailed

PAUSE_SECONDS = 0.5
MOST_LOSSES = 3  # servers that one row may bring down before it counts as the cause
PASSING = ("upstream_lost", "device_taken", "server_busy", "server_stopping")
OF_THE_MODEL = (  # every row would be refused
    "adapter_damaged",
    "model_not_found",
    "model_unavailable",
    "server_unsuited",
    "unsupported_model",
)


class Asking:
    """Sends requests to servers. Only the event loop may call."""

    def __init__(self, dispatcher: Dispatcher, wait_seconds: float) -> None:
        self._dispatcher, self._wait_seconds = dispatcher, wait_seconds
        self._waits: Counter[str] = Counter()

    @property
    def waits_for(self) -> str | None:
        """The base model that rows wait for, because no server can sample from it now."""
        return next(iter(self._waits), None)

    async def ask(self, path: str, model: ServedModel, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of a server, once there is one.

        Raises RowFailed if the servers refuse this request, JobError if they refuse the model or none has
        been running for too long, and OutsideFault if all have been busy for too long.
        """
        content = json.dumps({**body, SERVED_FIELD: model.model_dump(mode="json")}).encode()
        beginning = json.dumps(body.get("messages", body.get("prompt")))[:256]
        losses, waited_since, waits = 0, time.monotonic(), False
        reason: Exception
        try:
            while True:
                try:
                    async with self._dispatcher.begun(path, model, beginning, content) as response:
                        return dict(json.loads(await response.aread()))
                except RefusedByServer as error:
                    reason = _passing(error)
                except (ServerLost, httpx.HTTPError) as error:
                    losses += 1
                    if losses >= MOST_LOSSES:
                        message = f"{losses} servers stopped while they worked on this row."
                        raise RowFailed("server_lost", message) from error
                    reason = error
                except (Unavailable, RateLimited) as error:
                    reason = error
                if not waits:
                    self._waits[model.base] += 1
                    waits = True
                self._give_up_in_time(model.base, reason, waited_since)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            if waits:
                self._waits -= Counter([model.base])

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


def _passing(error: RefusedByServer) -> RefusedByServer:
    """Return the error if another try may succeed. Raises RowFailed, or JobError if the model is at fault."""
    if error.code in OF_THE_MODEL:
        raise JobError(str(error.code), error.message, "model") from error
    if error.code in PASSING:
        return error
    raise RowFailed(error.code or "refused", error.message) from error
