"""Sends the spans of this process to a collector, by OTLP over HTTP and the SDK of OpenTelemetry.

A thread of the SDK sends. Its queue is bounded: if the collector is away or slow, spans are dropped, and
nobody waits. The log says once in a while how many, and why.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Self

import structlog
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.errors import TuneryError
from core.tracing.spans import NO_IDS, NONE, NOTHING, Attributes, Kind, Process, Span

EXIT_SECONDS = 2.0  # for which the end of a process waits until its last spans are sent
TOLD_SECONDS = 600.0  # between two lines of the log about a collector that is away
QUEUE_SIZE = 2048  # spans, if OTEL_BSP_MAX_QUEUE_SIZE does not say otherwise: the SDK's own default
KINDS = {kind.name.lower(): kind for kind in SpanKind}
EXPORTER_LOG = "opentelemetry.exporter"

propagator = TraceContextTextMapPropagator()
log = structlog.get_logger()


def new_tracer(process: Process) -> "SdkTracer":
    """Return the tracer of this process. Raises ValueError if a variable OTEL_… is wrong.

    What the operator writes into these variables goes before what this process says of itself.
    """
    own = {
        "service.name": f"tunery-{process}",
        "service.namespace": "tunery",
        "service.version": version("tunery"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "tunery.process": process,
    }
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    queue = Queue(OTLPSpanExporter(), int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE_SIZE))
    sampled = TracerProvider(resource=resource, shutdown_on_exit=False)
    kept = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    for provider in (sampled, kept):
        provider.add_span_processor(queue)
    return SdkTracer(sampled.get_tracer("tunery"), kept.get_tracer("tunery"), _at_exit(queue))


def _at_exit(queue: "Queue") -> Callable[[], None]:
    """Let the end of this process wait a moment for its last spans, but not for a collector that is away.

    Return the function that does so, for processes that end by a signal. The thread starts now, because none
    can be started while the interpreter ends.
    """
    leaving, sent = threading.Event(), threading.Event()

    def wait() -> None:
        leaving.wait()
        queue.shutdown()
        sent.set()

    def leave() -> None:
        leaving.set()
        sent.wait(EXIT_SECONDS)

    threading.Thread(target=wait, name="last traces", daemon=True).start()
    atexit.register(leave)
    return leave


class Queue(BatchSpanProcessor):
    """The queue of the SDK. It counts the spans for which it has no room: the SDK only logs each of them."""

    def __init__(self, exporter: SpanExporter, size: int) -> None:
        self._sender = Sender(exporter, size)
        super().__init__(self._sender, max_queue_size=size)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled and self._sender.has_room():
            super().on_end(span)


class Heard(logging.Handler):
    """What the exporter said last. It would log each attempt to reach a collector that is away."""

    said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said = record.getMessage()


class Sender(SpanExporter):
    """Sends batches by another exporter, and says once in a while that spans are lost."""

    def __init__(
        self, exporter: SpanExporter, size: int = QUEUE_SIZE, told_seconds: float = TOLD_SECONDS
    ) -> None:
        """`size` is the number of spans that may wait."""
        self._exporter, self._size, self._told_seconds = exporter, size, told_seconds
        self._counting = threading.Lock()
        self._waiting = self._lost = self._lost_before = 0
        self._told_at: float | None = None
        self._is_told = False
        self._heard = Heard()
        logger = logging.getLogger(EXPORTER_LOG)
        logger.handlers, logger.propagate = [self._heard], False

    def has_room(self) -> bool:
        """Take a place for a span. Return False if there is none: the span is lost."""
        with self._counting:
            has_room = self._waiting < self._size
            self._waiting += has_room
            self._lost += not has_room
            return has_room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._counting:
            self._waiting -= len(spans)
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._tell("the collector is too slow: more spans wait than OTEL_BSP_MAX_QUEUE_SIZE")
        else:
            with self._counting:
                self._lost += len(spans)
            self._tell(f"the collector does not take them: {self._heard.said or 'it gives no reason'}")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _tell(self, reason: str) -> None:
        """Log that spans were lost since the last batch, or that none were lost any more."""
        now, lost = time.monotonic(), self._lost
        if lost == self._lost_before:
            if self._is_told:
                self._is_told = False
                log.info("traces_sent_again", lost=lost)
                with self._counting:
                    self._lost -= lost
                lost = 0
        elif self._told_at is None or now - self._told_at >= self._told_seconds:
            self._told_at, self._is_told = now, True
            log.warning("traces_not_sent", reason=reason, lost=lost)
        self._lost_before = lost


class SdkTracer:
    """Makes spans by the SDK. Any thread may call."""

    def __init__(self, sampled: trace.Tracer, kept: trace.Tracer, end: Callable[[], None]) -> None:
        self._sampled, self._kept, self._end = sampled, kept, end

    def begin(
        self, name: str, attributes: Attributes, parent: Mapping[str, str], kind: Kind, began: int | None
    ) -> Span:
        context = propagator.extract(parent, Context())
        return SdkSpan(self._sampled.start_span(name, context, KINDS[kind], attributes, None, began))

    def always(self, name: str, attributes: Attributes) -> Span:
        return SdkSpan(self._kept.start_span(name, Context(), attributes=attributes))

    def child(self, name: str, attributes: Attributes, kind: Kind) -> Span:
        if not trace.get_current_span().get_span_context().is_valid:
            return NOTHING
        return SdkSpan(self._sampled.start_span(name, None, KINDS[kind], attributes))

    def within(self, traceparent: str) -> Span:
        context = _context_of(traceparent)
        return NOTHING if context is None else Elsewhere(trace.NonRecordingSpan(context))

    def current(self) -> Span:
        span = trace.get_current_span()
        return SdkSpan(span) if span.get_span_context().is_valid else NOTHING

    def ids(self) -> Mapping[str, str]:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return NO_IDS
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    def outgoing(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        propagator.inject(headers)
        return headers

    def end(self) -> None:
        self._end()


class SdkSpan(Span):
    """A span of the SDK. A sampler may have decided that it is not sent; its name travels all the same."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Any = None

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @property
    def kept_in(self) -> str | None:
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, _type: object, _error: object, _traceback: object) -> None:
        detach(self._token)
        if _error is not None:
            # Other libraries have codes too, which say less than the name of their error
            code = getattr(_error, "code", None) if isinstance(_error, TuneryError) else None
            self.fail(str(code or type(_error).__name__))
        self._span.end()

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes = NONE) -> None:
        self._span.add_event(name, attributes)

    def link(self, traceparent: str | None) -> None:
        if traceparent is not None and (context := _context_of(traceparent)) is not None:
            self._span.add_link(context)

    def fail(self, code: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.set_attribute("error.type", code)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self) -> None:
        self._span.end()


class Elsewhere(SdkSpan):
    """A span that another part of the service ends."""

    def __exit__(self, _type: object, _error: object, _traceback: object) -> None:
        detach(self._token)

    def end(self) -> None:
        return None


@lru_cache(maxsize=256)  # a training loop asks for the same few again and again
def _context_of(traceparent: str) -> SpanContext | None:
    """Return what a traceparent names, or None if it is none."""
    context = propagator.extract({"traceparent": traceparent}, Context())
    found = trace.get_current_span(context).get_span_context()
    return found if found.is_valid else None
