"""Sends a request to one server after another, until one begins the answer.

Once an answer has begun, no other server can go on with it.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import structlog
from sqlalchemy.orm import Session, sessionmaker

from core.errors import AppError, RateLimited, Unavailable
from core.ids import new_id
from core.serving.dispatch.errors import RefusedByServer, ServerLost
from core.serving.dispatch.servers import Servers
from core.serving.dispatch.watch import Watch
from core.serving.paths import COMPUTED
from core.serving.served_model import ServedModel
from core.serving.token import PROJECT_HEADER, REQUEST_HEADER, opaque_project
from core.tables import Server
from core.tracing import spans

# Seconds
CONNECT = 2.0
SILENCE = 600.0  # without a byte of an answer; a whole one comes at once, at its end
PAUSE = 0.1  # between two searches for a server that can take the request
COUNTED = 1.5  # in which a server tells the tokens of a request that was given up
LOST = 15.0  # in which another server may come up, after the only one was lost
RETRY_AFTER = 5

# Servers that one request may bring down, or fail at, before it is refused: it may be the request's fault
MOST_FAILURES = 2

# A machine that is gone without a word is noticed after about 30 s, also while a server computes in silence
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]

# The system would let megabytes come here of an answer that its client does not read. It waits at the server
LITTLE_AT_ONCE = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)]

# How a server says that it cannot take the request, though another one may
BUSY = (429, "server_busy")
STOPPING = (503, "server_stopping")
FAILED = ((500, "sampling_failed"), (503, "model_unavailable"), (503, "upstream_lost"))
UNSUITED = ((409, "server_unsuited"), (503, "device_taken"))

log = structlog.get_logger()


class Dispatcher:
    """Sends requests to servers. `bearer_token` tells them that a process of this Tunery asks."""

    def __init__(
        self, sessions: sessionmaker[Session], bearer_token: str | None, wait_seconds: float
    ) -> None:
        """`sessions` are for single reads."""
        self._servers, self._bearer_token = Servers(sessions), bearer_token
        self._wait_seconds = wait_seconds
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {bearer_token}", "content-type": "application/json"},
            transport=httpx.AsyncHTTPTransport(
                # A connection that was kept could be one that the server has just closed
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                socket_options=[*KEEP_ALIVE, *LITTLE_AT_ONCE],
            ),
            timeout=httpx.Timeout(SILENCE, connect=CONNECT, pool=None),
        )
        self._watch = Watch(sessions, self._http)

    @asynccontextmanager
    async def begun(
        self,
        path: str,
        model: ServedModel,
        beginning: str,
        body: bytes,
        project_id: str,
        given_up: Callable[[dict[str, Any]], None] | None = None,
        answers: int = 1,
    ) -> AsyncIterator[httpx.Response]:
        """Yield an answer whose status is 200, when it has begun. The server stops if the block is left.

        Requests with the same `beginning` go to the same server, if it has time. The server divides its time
        between projects, which it knows by an opaque name. The request asks for so many `answers`. Raises
        RefusedByServer, RateLimited if all servers have too much to do, and Unavailable. Raises
        httpx.ReadTimeout in the block if the server falls silent.

        If the caller is cancelled meanwhile, or an error ends the block, `given_up` gets the `usage` of what
        the server has computed.
        """
        project, request_id = opaque_project(self._bearer_token, project_id), new_id("")
        headers = {PROJECT_HEADER: project, REQUEST_HEADER: request_id}
        server: Server | None = None
        attempts = _Attempts(model.base, self._wait_seconds)
        try:
            async with AsyncExitStack() as held:
                while True:
                    server = await self._servers.choose(model, beginning, attempts.without)
                    if server is None:
                        await attempts.pause()
                        continue
                    try:
                        response = await self._ask(server, path, body, headers, answers, held)
                        break
                    except (AppError, httpx.HTTPError) as error:
                        self._judge(server, error, attempts)
                yield response
        except AppError:  # no server has begun
            raise
        except (Exception, asyncio.CancelledError):  # the connection is closed, so the server stops
            if server is not None and given_up is not None:
                await self._count(server, request_id, given_up)
            raise

    async def close(self) -> None:
        self._watch.close()
        await self._http.aclose()

    async def _count(
        self, server: Server, request_id: str, given_up: Callable[[dict[str, Any]], None]
    ) -> None:
        """Tell what a server has computed for a request that it does not work on any more."""
        try:
            answer = await self._http.get(f"{server.address}{COMPUTED}/{request_id}", timeout=COUNTED)
            usage = answer.json()["usage"]
        except (httpx.HTTPError, ValueError, LookupError) as error:
            log.warning("tokens_not_counted", server=server.id, error=repr(error))
            return
        if usage is not None:
            given_up(usage)

    async def _ask(
        self,
        server: Server,
        path: str,
        body: bytes,
        headers: dict[str, str],
        answers: int,
        held: AsyncExitStack,
    ) -> httpx.Response:
        """Return the server's answer, which `held` closes. Raises AppError and httpx.HTTPError."""
        async with AsyncExitStack() as attempt:
            attempt.enter_context(self._servers.at_work(server, answers))
            await attempt.enter_async_context(self._watch.over(server))
            with spans.child("chat.dispatch", {"tunery.server.id": server.id}, "client"):
                request = self._http.build_request(
                    "POST", server.address + path, content=body, headers={**headers, **spans.outgoing()}
                )
                response = await self._http.send(request, stream=True)
                attempt.push_async_callback(response.aclose)
                if response.status_code != 200:
                    raise _refusal(response, await response.aread())
            await held.enter_async_context(attempt.pop_all())
            return response

    def _judge(self, server: Server, error: Exception, attempts: "_Attempts") -> None:
        """Note why the server has not begun the answer. Raises the error if no other server may try it."""
        if isinstance(error, AppError):
            refusal = error.status, error.code
            if refusal == BUSY:
                attempts.note_busy(server)
            elif refusal == STOPPING:
                attempts.note_lost(server)
            elif refusal in UNSUITED:
                attempts.note_unsuited(server, error)
            elif refusal in FAILED or not isinstance(error, RefusedByServer):
                attempts.note_failure(server, error)
            else:
                raise error
            return
        log.warning("server_lost", server=server.id, address=server.address, error=repr(error))
        self._servers.mark_lost(server)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            attempts.note_lost(None)
        else:
            attempts.note_failure(server, _lost_at_work())


class _Attempts:
    """What has become of one request at the servers."""

    def __init__(self, base: str, wait_seconds: float) -> None:
        self._base = base
        self._began = time.monotonic()
        self._wait_seconds = wait_seconds
        self._excluded: set[str] = set()
        self._busy: set[str] = set()
        self._was_busy = self._was_lost = False
        self._failures: list[AppError] = []
        self._unsuited: AppError | None = None

    @property
    def without(self) -> set[str]:
        """The ids of the servers that need not be asked now."""
        return self._excluded | self._busy

    def note_busy(self, server: Server) -> None:
        self._was_busy = True
        self._busy.add(server.id)

    def note_lost(self, server: Server | None) -> None:
        """Note that a server cannot be reached, or stops. One that stops does not come back."""
        self._was_lost = True
        if server is not None:
            self._excluded.add(server.id)

    def note_failure(self, server: Server, error: AppError) -> None:
        """Note that a server could not do the request. Raises the error if too many could not."""
        self._excluded.add(server.id)
        self._failures.append(error)
        if isinstance(error, ServerLost):
            self._was_lost = True
            error.servers = sum(isinstance(each, ServerLost) for each in self._failures)
        if len(self._failures) >= MOST_FAILURES:
            raise error

    def note_unsuited(self, server: Server, error: AppError) -> None:
        """Note that a server cannot do such requests. Servers of another kind may."""
        self._excluded.add(server.id)
        self._unsuited = error

    async def pause(self) -> None:
        """Wait a moment for a server that can take the request. Raises the reason to give up, in time."""
        waits = self._wait_seconds if self._was_busy else min(LOST, self._wait_seconds)
        may_wait = self._was_busy or self._was_lost
        if not may_wait or time.monotonic() - self._began >= waits:
            raise self._reason()
        self._busy.clear()
        await asyncio.sleep(PAUSE)

    def _reason(self) -> AppError:
        if self._was_busy:
            return RateLimited(
                f"All servers for '{self._base}' have as many requests as they take. Try again later.",
                retry_after=RETRY_AFTER,
            )
        if self._failures:
            return self._failures[-1]
        if self._was_lost:  # perhaps the one server that suits the request
            return Unavailable(
                f"The servers for '{self._base}' cannot be reached at the moment. Try again in a moment.",
                code="server_lost",
            )
        if self._unsuited is not None:
            return self._unsuited
        return Unavailable(
            f"No server is running that samples from '{self._base}'. The operator starts one with "
            "`tunery serve`; `tunery up` starts one too.",
            code="no_server",
        )


def _lost_at_work() -> ServerLost:
    return ServerLost("The server stopped before the answer began. Send the request again.")


def _refusal(response: httpx.Response, content: bytes) -> AppError:
    """Return the error of a server's answer."""
    try:
        error = json.loads(content)["error"]
        refused = RefusedByServer(response.status_code, error, response.headers)
    except (ValueError, LookupError, TypeError, AttributeError):
        log.error("server_answered_strangely", status=response.status_code)
        return Unavailable("The server that samples from the model gave no answer that could be understood.")
    if refused.status in (401, 403):
        log.error("server_refused_the_token", error=refused.message)
        return Unavailable(
            "The server that samples from the model does not accept Tunery's token. Ask the operator to set "
            "the same TUNERY_SECRET_KEYS on the API, all workers and all servers."
        )
    return refused
