"""Puts the API together. Nothing but its document is global, so one process can hold two apps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, ClassVar

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from api.adapters.endpoints import router as adapters
from api.admission.auth import Authentication, Roles
from api.admission.bodies import WholeBodies
from api.admission.callers import Callers
from api.admission.fair_share import FairShare
from api.admission.live_keys import LiveKeys
from api.admission.rates import CountedRequests, RequestRates
from api.admission.store_threads import COMPARING_THREADS, READING_THREADS, UPLOAD_THREADS
from api.admission.strangers import Strangers
from api.aliases.endpoints import router as aliases
from api.base_models.endpoints import router as base_models
from api.chat.endpoints import router as chat
from api.chat.shared import ChatComponents
from api.checkpoints.endpoints import router as checkpoints
from api.compositions.endpoints import router as compositions
from api.dashboard import Dashboard
from api.descriptors import connection_limit
from api.estimates.endpoints import router as estimates
from api.evals.comparison.endpoints import router as eval_comparison
from api.evals.endpoints import router as evals
from api.evals.output_items.endpoints import router as output_items
from api.evals.runs.endpoints import router as eval_runs
from api.exports.endpoints import router as exports
from api.file_tasks.checks import router as file_checks
from api.file_tasks.conversions import router as file_conversions
from api.files.endpoints import router as files
from api.files.image_processes import ImageProcesses
from api.graders.endpoints import router as graders
from api.http.boundary import Boundary
from api.http.errors import answer_http_exception
from api.http.middleware import Compression, Crowd, TrailingSlash
from api.http.validation import answer_validation_error
from api.imports.endpoints import router as imports
from api.imports.waiting import ImportsInWork
from api.integrations.endpoints import router as integrations
from api.jobs.candidates.endpoints import router as job_candidates
from api.jobs.checkpoints.endpoints import router as job_checkpoints
from api.jobs.endpoints import router as jobs
from api.jobs.events.endpoints import router as job_events
from api.jobs.events.feed import EventFeed
from api.jobs.events.open_streams import OpenStreams, most_streams
from api.jobs.metrics.endpoints import router as job_metrics
from api.jobs.queue_positions import QueuePositions
from api.jobs.rows.endpoints import router as job_rows
from api.jobs.shared_polls import SharedPolls
from api.methods.endpoints import router as methods
from api.models.endpoints import router as models
from api.monitoring.requests import RequestCounts
from api.organization.endpoints import router as organization
from api.portability.endpoints import router as portability
from api.previews.endpoints import router as previews
from api.secrets.endpoints import router as secrets
from api.session.endpoints import router as browser_session
from api.sign_on.endpoints import SignOn
from api.sign_on.endpoints import router as sign_on
from api.stored_completions.endpoints import router as stored_completions
from api.stored_completions.file_endpoint import router as files_of_completions
from api.sweeps.endpoints import router as sweeps
from api.system.endpoints import router as system
from api.system.service import ServerChecks, SharedReadiness
from api.uploads.endpoints import router as uploads
from api.webhooks.endpoints import router as webhooks
from api.workers.endpoints import router as workers
from core.access.rates import Counters
from core.catalog import offered_models
from core.database import create_database, reading_sessions, session_factory
from core.datasets.images import ImageCheck
from core.egress import Egress
from core.endpoints.asking import Endpoints
from core.graders.processes import SECONDS as GRADER_SECONDS
from core.graders.processes import GraderProcesses
from core.jobs.dispatch import HintSender, create_celery
from core.monitoring.recorder import Recorder
from core.secrets.vault import Vault
from core.settings import Settings
from core.storage.object_store import ObjectStore

# The OpenAPI document and the page /docs show the features in this order.
ROUTERS = (
    *(files, files_of_completions, file_checks, file_conversions, previews, uploads),
    *(jobs, estimates, job_events, job_checkpoints, job_metrics, job_rows, job_candidates, sweeps),
    *(checkpoints, graders, methods, integrations),
    # Their paths begin with those of adapters, where a word would count as an adapter's id
    *(
        models,
        compositions,
        adapters,
        imports,
        exports,
        portability,
        aliases,
        chat,
        stored_completions,
        workers,
    ),
    *(evals, eval_runs, output_items, eval_comparison),
    *(organization, base_models, secrets, webhooks, browser_session, sign_on, system),
)

# Twice as many connections are for the look-ups of keys and for /readyz alone. They are as many as these have
# threads, so neither waits for requests that hold connections for long.
RESERVED_CONNECTIONS = 3

# A pooled connection that was idle for so many seconds is tested before it is used. If a connection breaks
# earlier, its request gets a 503, and clients send the request again.
CONNECTION_RESTED = 0.25


class Application(FastAPI):
    """An app that shares its document with all apps of the same routes: to make one takes seconds."""

    _documents: ClassVar[dict[tuple[str, ...], dict[str, Any]]] = {}

    def openapi(self) -> dict[str, Any]:
        own = tuple(route.path for route in self.routes if isinstance(route, APIRoute))  # beside all ROUTERS
        if own not in self._documents:
            self._documents[own] = super().openapi()
        return self._documents[own]


def create_app(settings: Settings) -> FastAPI:
    """Return the API for the servers that `settings` name. It connects to a server at the first request.

    Raises ConfigurationError if a server is not named, or if the catalog or a key cannot be read.
    """
    engine = create_database(settings.server("database_url"), rested=CONNECTION_RESTED)
    sessions, reading = session_factory(engine), reading_sessions(engine)
    reserved = create_database(
        settings.server("database_url"), pool_size=RESERVED_CONNECTIONS, rested=CONNECTION_RESTED
    )
    strangers = Strangers()
    callers = Callers(reading_sessions(reserved), settings, strangers)
    routes = [route for router in ROUTERS for route in router.routes]
    counters = Counters(settings.server("broker_url"))
    live_keys = LiveKeys(reading)
    chat_components = ChatComponents.of(settings, sessions, reading, counters, live_keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await chat_components.close()
        if app.state.sign_on is not None:
            await app.state.sign_on.provider.close()
        engine.dispose()
        reserved.dispose()

    app = Application(
        title="Tunery",
        summary="Self-hosted fine-tuning behind OpenAI's wire format",
        version=version("tunery"),
        lifespan=lifespan,
        middleware=[
            Middleware(Boundary),
            Middleware(Compression),
            Middleware(Crowd),
            Middleware(Authentication, callers=callers),
            Middleware(TrailingSlash),
            Middleware(WholeBodies, routes=routes),
            Middleware(FairShare, routes=routes, strangers=strangers),
            Middleware(CountedRequests, rates=RequestRates(counters)),
            Middleware(Roles),
            Middleware(Dashboard),
        ],
        exception_handlers={
            HTTPException: answer_http_exception,
            RequestValidationError: answer_validation_error,
        },
        docs_url=None,  # `api.dashboard` serves a page that loads nothing from other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.is_crowded = lambda: False  # the server that runs the app knows better
    app.state.settings = settings
    app.state.recorder = recorder = Recorder()
    app.state.request_counts = RequestCounts(recorder)
    app.state.engine = engine
    app.state.sessions = sessions
    app.state.reading_sessions = reading
    app.state.live_keys = live_keys
    app.state.event_feed = EventFeed(reading)
    app.state.chat = chat_components
    app.state.open_streams = OpenStreams(most_streams(connection_limit()), settings.project_event_streams)
    app.state.imports = ImportsInWork(sessions, settings.chat_wait_seconds)
    app.state.grader_processes = GraderProcesses(settings.python_sandbox)
    app.state.image_processes = image_processes = ImageProcesses()
    app.state.images = ImageCheck(image_processes.look, settings.max_row_image_bytes)
    app.state.egress = egress = Egress(settings.egress_allow)
    app.state.endpoints = Endpoints(
        egress, settings.grading_at_once, settings.endpoint_grader_seconds, GRADER_SECONDS
    )
    app.state.positions = positions = QueuePositions(reading)
    app.state.polls = SharedPolls(reading, positions, settings.lease_seconds)
    app.state.store = store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
    app.state.reading_threads = CapacityLimiter(READING_THREADS)
    app.state.comparing_threads = CapacityLimiter(COMPARING_THREADS)
    app.state.upload_threads = CapacityLimiter(UPLOAD_THREADS)
    app.state.hint_sender = hint_sender = HintSender(create_celery(settings.server("broker_url")))
    app.state.readiness = SharedReadiness(ServerChecks(reserved, hint_sender, store).look)
    app.state.catalog = offered_models(settings)
    app.state.vault = Vault.of(settings.secret_keys)
    app.state.sign_on = SignOn.of(settings)
    for router in ROUTERS:
        app.include_router(router)
    return app
