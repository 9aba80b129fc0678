"""Sends the spans of this process to a collector, by OTLP over HTTP and the SDK of OpenTelemetry.

A thread of the SDK sends. Its queue is bounded: if the collector is away or slow, spans are dropped, and
nobody waits. The log says so once in a while.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Self

import structlog
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.tracing.spans import NO_IDS, NONE, NOTHING, Attributes, Kind, Process, Span

EXIT_SECONDS = 2.0  # for which the end of a process waits until its last spans are sent
TOLD_SECONDS = 600.0  # between two lines of the log about a collector that is away
KINDS = {kind.name.lower(): kind for kind in SpanKind}
# They would log each attempt to reach a collector that is away, and each span that is dropped
SILENT = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")

propagator = TraceContextTextMapPropagator()
log = structlog.get_logger()


def new_tracer(process: Process) -> "SdkTracer":
    """Return the tracer of this process, which the variables OTEL_… configure."""
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    own = {
        "service.namespace": "tunery",
        "service.version": version("tunery"),
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "tunery.process": process,
    }
    resource = Resource.create(own if named else {"service.name": f"tunery-{process}", **own})
    processor = BatchSpanProcessor(Sender(OTLPSpanExporter()))
    sampled = TracerProvider(resource=resource, shutdown_on_exit=False)
    kept = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    for provider in (sampled, kept):
        provider.add_span_processor(processor)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _send_the_rest_at_exit(processor)
    return SdkTracer(sampled.get_tracer("tunery"), kept.get_tracer("tunery"))


def _send_the_rest_at_exit(processor: BatchSpanProcessor) -> None:
    """Let the end of this process wait a moment for its last spans, but not for a collector that is away.

    The thread starts now, because none can be started while the interpreter ends.
    """
    leaving, sent = threading.Event(), threading.Event()

    def wait() -> None:
        leaving.wait()
        processor.shutdown()
        sent.set()

    def leave() -> None:
        leaving.set()
        sent.wait(EXIT_SECONDS)

    threading.Thread(target=wait, name="last traces", daemon=True).start()
    atexit.register(leave)


class Sender(SpanExporter):
    """Sends batches by another exporter, and says once in a while that this fails."""

    def __init__(self, exporter: SpanExporter, told_seconds: float = TOLD_SECONDS) -> None:
        self._exporter, self._told_seconds = exporter, told_seconds
        self._lost = 0
        self._told_at: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._note_success()
        else:
            self._note_loss(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _note_loss(self, spans: int) -> None:
        self._lost += spans
        now = time.monotonic()
        if self._told_at is None or now - self._told_at >= self._told_seconds:
            self._told_at = now
            log.warning("traces_not_sent", reason="the collector does not take them", lost=self._lost)

    def _note_success(self) -> None:
        if self._lost:
            log.info("traces_sent_again", lost=self._lost)
            self._lost = 0


class SdkTracer:
    """Makes spans by the SDK. Any thread may call."""

    def __init__(self, sampled: trace.Tracer, kept: trace.Tracer) -> None:
        self._sampled, self._kept = sampled, kept

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
            self.fail(str(getattr(_error, "code", None) or type(_error).__name__))
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
