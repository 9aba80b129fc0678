"""Has prompts made by processes with the model's chat template and tokenizer, which end with their limits.

A template may loop for ever, and a text of a megabyte takes a second. So neither happens in this process.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from core.errors import InvalidRequest, JobError
from core.tracing import spans
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer
from worker.server.exchange import Exchange
from worker.server.threads import Until, in_daemon_thread, to_its_end
from worker.server.turns import Turns

SHORT_BYTES = 32 * 1024  # of a request, whose prompt takes milliseconds

Result = TypeVar("Result")


class Prompting:
    """Makes the prompts of one base model. Only the event loop may call."""

    def __init__(self, renderer: Renderer, folder: Path, request: CallsRequest) -> None:
        """`folder` has the tokenizer. A short request never waits for a long one."""
        self._short, self._long = (_Desk(renderer, folder, request) for _ in range(2))

    async def make(self, exchange: Exchange, call: Callable[[Any], Result]) -> Result:
        """Call the function with the tokenizer, when it is the turn of the request's project.

        Raises what it raises, and InvalidRequest if it takes too much time or memory.
        """
        desk = self._short if exchange.body_bytes <= SHORT_BYTES else self._long
        with spans.child("chat.render"):
            return await desk.make(exchange.project, call)

    def close(self) -> None:
        self._short.close()
        self._long.close()


class _Desk:
    """One process that makes prompts, one after the other. If it dies or must end, another one follows."""

    def __init__(self, renderer: Renderer, folder: Path, request: CallsRequest) -> None:
        self._begin = partial(renderer.calls, folder, request)
        self._seconds = request.seconds
        self._turns = Turns(at_once=1)
        self._channel: Connection | None = None  # belongs to whoever has the turn

    async def make(self, project: str, call: Callable[[Any], Result]) -> Result:
        async with self._turns.turn(project):
            until = Until(inf)
            while True:
                may_be_worn = self._channel is not None
                try:
                    made = in_daemon_thread(partial(self._outcome, call, until), "prompt")
                    return _result(await to_its_end(made, until.gone))
                except (EOFError, ConnectionError):
                    # A process may have died of the calls before this one, but then it took no time for it
                    if not may_be_worn or until.spent >= self._seconds:
                        raise _died() from None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _outcome(self, call: Callable[[Any], Any], until: Until) -> Any:
        """Return what the call returns or raises. Raises EOFError or ConnectionError if the process dies."""
        channel, self._channel = self._channel or self._begin(), None
        try:
            channel.send(call)
            if not until.wait(channel):
                raise EOFError
            outcome = channel.recv()
        except (EOFError, ConnectionError):
            channel.close()
            raise
        self._channel = channel
        return outcome


def _died() -> InvalidRequest:
    return InvalidRequest(
        "The process that makes the prompt died, most often because the prompt is too much for the model's "
        "tokenizer. Shorten it.",
        code="prompt_too_costly",
    )


def _result(outcome: Any) -> Any:
    if isinstance(outcome, JobError):
        raise InvalidRequest(outcome.message, code=outcome.code) from outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
