"""The ASGI application of a server: its paths, the bearer token, and the part that answers, imported late."""

import asyncio
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from core.errors import InvalidRequest, NotAuthenticated, NotFound
from core.serving.paths import CHAT, COMPLETIONS, COMPUTED, TOKENIZE
from core.serving.previews import PREVIEW
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.coherence import parse
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import SERVED_FIELD
from core.serving.token import REQUEST_HEADER, is_server_token
from core.settings import Settings
from worker.server.admission import Admission
from worker.server.computed import UsageOfEnded
from worker.server.exchange import Exchange
from worker.server.metrics import Metrics
from worker.server.strangers import no_stranger
from worker.server.threads import in_daemon_thread

if TYPE_CHECKING:
    from worker.engine.sampler.sampler import Load
    from worker.rendering.renderer import Renderer


class Models(Protocol):
    """What is loaded. May be read from any thread."""

    @property
    def resident(self) -> str | None:
        """The id of the base model that is loaded."""

    @property
    def warm_adapters(self) -> list[str]:
        """The content hashes of the adapters that are loaded."""

    @property
    def loading(self) -> str | None:
        """How far the load of a base model has come, if one is being loaded."""

    @property
    def load(self) -> "Load | None":
        """How busy the sampler is, if there is one in this process."""


class Answering(Protocol):
    """The part that answers: by the sampler of this process, or by an upstream."""

    @property
    def models(self) -> Models: ...
    async def chat(self, exchange: Exchange, request: ChatRequest, served: Any) -> None: ...
    async def complete(self, exchange: Exchange, request: CompletionRequest, served: Any) -> None: ...
    async def tokenize(self, exchange: Exchange, request: TokenizeRequest, served: Any) -> None: ...
    async def close(self) -> None: ...


class Previewing(Protocol):
    """The part that shows rows of files. It needs no model in memory."""

    async def run(self, exchange: Exchange, body: dict[str, Any]) -> None: ...


SCHEMAS: Mapping[str, type[ChatRequest | CompletionRequest | TokenizeRequest]] = {
    CHAT: ChatRequest,
    COMPLETIONS: CompletionRequest,
    TOKENIZE: TokenizeRequest,
}
ANSWERED = (*SCHEMAS, PREVIEW)

GetRenderer = Callable[[], "Renderer"]
"""Returns the process that renders, and starts it at the first call."""

ImportAnswering = Callable[[], Callable[[GetRenderer], Answering]]
"""Imports the part that answers, which takes seconds, and returns what makes it in the event loop."""


class ServerApp:
    """Answers requests of the API. Everything but `/readyz` and `/metrics` needs the bearer token."""

    def __init__(self, settings: Settings, import_answering: ImportAnswering) -> None:
        self._settings = settings
        self.admission = Admission(settings.serve_requests, settings.serve_wait_seconds, self._loading)
        self._import_answering = import_answering
        self._answering: Answering | None = None
        self._importing = asyncio.Lock()
        self._previews: Previewing | None = None
        self._renderer: Renderer | None = None
        self._metrics = Metrics(self._now)
        self._computed = UsageOfEnded()
        self._app = Starlette(
            routes=[
                Route("/readyz", self._tell_state),
                Route("/metrics", self._metrics.page),
                *(Route(path, self._exchange, methods=["POST"]) for path in ANSWERED),
                Route(f"{COMPUTED}/{{request_id}}", self._tell_computed),
                Mount("/", self._refuse),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._has_token(Request(scope)):
                no_stranger(scope)
            await self._app(scope, receive, send)

    @property
    def resident(self) -> str | None:
        """The id of the base model that is loaded. May be read from any thread."""
        return self._answering.models.resident if self._answering else None

    @property
    def warm_adapters(self) -> list[str]:
        """The content hashes of the adapters that are loaded. May be read from any thread."""
        return self._answering.models.warm_adapters if self._answering else []

    async def close(self) -> None:
        if self._answering is not None:
            await self._answering.close()
        if self._renderer is not None:
            self._renderer.close()

    @property
    def _load(self) -> "Load | None":
        return self._answering.models.load if self._answering else None

    def _loading(self) -> str | None:
        return self._answering.models.loading if self._answering else None

    def _now(self) -> tuple[int, int, float]:
        return self.admission.requests, len(self.warm_adapters), self._load.pool_share if self._load else 0.0

    async def _tell_state(self, _request: Request) -> Response:
        draining, load = self.admission.draining, self._load
        state = {
            "status": "stopping" if draining else "ok",
            "base": self.resident,
            "loading": self._loading(),
            "adapters": len(self.warm_adapters),
            "requests": self.admission.requests,
            "sampler": load and {"running": load.running, "waiting": load.waiting, "cache": load.pool_share},
        }
        return JSONResponse(state, 503 if draining else 200)

    async def _exchange(self, request: Request) -> Exchange:
        return Exchange(request, self._check_bearer_token, self._work, self._ended, traced=True)

    def _ended(self, exchange: Exchange) -> None:
        self._metrics.count(exchange)
        if request_id := exchange.facts.get("request_id"):
            self._computed.note(request_id, exchange.usage)

    async def _tell_computed(self, request: Request) -> Exchange:
        async def tell(exchange: Exchange, _body: bytes) -> None:
            usage = await self._computed.usage(request.path_params["request_id"])
            await exchange.answer(200, json.dumps({"usage": usage}).encode())

        return Exchange(request, self._check_bearer_token, tell, self._metrics.count)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def refuse(_exchange: Exchange, _body: bytes) -> None:
            raise NotFound(f"Invalid URL ({scope['method']} {scope['path']})", code="unknown_url")

        request = Request(scope, receive)
        exchange = Exchange(request, self._check_bearer_token, refuse, self._metrics.count)
        await exchange(scope, receive, send)

    async def _work(self, exchange: Exchange, body: bytes) -> None:
        path = exchange.request.url.path
        if request_id := exchange.request.headers.get(REQUEST_HEADER):
            exchange.facts["request_id"] = request_id
        fields = read_object(body)
        if path == PREVIEW:
            with self.admission.permit(exchange):
                previews = await self._load_previews()
                await previews.run(exchange, fields)
            return
        served = fields.pop(SERVED_FIELD, None)
        request = parse(SCHEMAS[path], fields)
        with self.admission.permit(exchange, request.answers):
            answering = await self._load_answering()
            match request:
                case ChatRequest():
                    await answering.chat(exchange, request, served)
                case CompletionRequest():
                    await answering.complete(exchange, request, served)
                case TokenizeRequest():
                    await answering.tokenize(exchange, request, served)

    def _check_bearer_token(self, request: Request) -> None:
        if not self._has_token(request):
            raise NotAuthenticated("This server answers the API only. Send requests to the API.")

    def _has_token(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and is_server_token(token, self._settings.secret_keys)

    def _get_renderer(self) -> "Renderer":
        if self._renderer is None:
            renderer: Renderer = import_module("worker.rendering.renderer").Renderer()
            self._renderer = renderer
        return self._renderer

    async def _load_previews(self) -> Previewing:
        """Return the part that shows rows. The first call imports it, and its client of the object store."""
        async with self._importing:
            if self._previews is None:
                module = await in_daemon_thread(lambda: import_module("worker.server.previews"), "imports")
                previews: Previewing = module.Previews(self._settings, self._get_renderer)
                self._previews = previews
            return self._previews

    async def _load_answering(self) -> Answering:
        """Return the part that answers. The first call imports it in a thread."""
        async with self._importing:
            if self._answering is None:
                make = await in_daemon_thread(self._import_answering, "imports")
                self._answering = make(self._get_renderer)
            return self._answering


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a request. Raises InvalidRequest; the API has refused such a body before."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON.", code="invalid_json") from error
    if not isinstance(found, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return found
