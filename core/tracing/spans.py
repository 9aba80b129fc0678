"""Spans: what other code tells of its work. Without a collector, this does nothing and imports nothing.

A span belongs to a trace. `Span.traceparent` names both in the form of W3C's Trace Context, so that another
process can go on with the trace: the name travels in a header, or in the row of a job or a task. A process
begins with `start`. There is one tracer for the whole process, like its log.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypeVar

import structlog

Attributes = Mapping[str, Any]  # each is a text, a number or a boolean
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Process = Literal["api", "worker", "trainer", "server", "task"]
T = TypeVar("T")

NONE: Attributes = MappingProxyType({})
NO_IDS: Mapping[str, str] = MappingProxyType({})
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"  # the headers of W3C's Trace Context

log = structlog.get_logger()


class Span:
    """A piece of work in a trace. As a context manager, it is the current span of the block and ends with it.

    This class is the span of a process without a collector: its methods do nothing.
    """

    @property
    def traceparent(self) -> str | None:
        """The name of this span and its trace, for whoever goes on with the trace."""
        return None

    @property
    def kept_in(self) -> str | None:
        """The id of the trace, if the trace is sent to the collector."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, _error: object, _traceback: object) -> None:
        return None

    def set(self, attributes: Attributes) -> None:
        """Add attributes. No value is a client's text: a collector may show it to anybody."""

    def event(self, name: str, attributes: Attributes = NONE) -> None:
        """Note that something has happened now."""

    def link(self, traceparent: str | None) -> None:
        """Refer to a span of another trace."""

    def fail(self, code: str) -> None:
        """Mark the work as failed. `code` is a word for the reason, never a message."""

    def rename(self, name: str) -> None:
        """Give the span its name, once it is known."""

    def end(self) -> None:
        """End a span that was not entered."""


NOTHING = Span()


class Tracer(Protocol):
    """What makes the spans of a process that has a collector."""

    def begin(
        self, name: str, attributes: Attributes, parent: Mapping[str, str], kind: Kind, began: int | None
    ) -> Span: ...
    def always(self, name: str, attributes: Attributes) -> Span: ...
    def child(self, name: str, attributes: Attributes, kind: Kind) -> Span: ...
    def within(self, traceparent: str) -> Span: ...
    def current(self) -> Span: ...
    def ids(self) -> Mapping[str, str]: ...
    def outgoing(self) -> dict[str, str]: ...
    def end(self) -> None: ...


_tracer: Tracer | None = None


def start(process: Process) -> None:
    """Send spans from now on, if the environment names a collector and the SDK is installed.

    The variables are those that OpenTelemetry defines for all programs (OTEL_…).
    """
    global _tracer
    if not _is_wanted():
        return
    protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), PROTOCOL)
    if protocol != PROTOCOL:
        log.warning("traces_not_sent", reason=f"only the protocol {PROTOCOL} is spoken, not {protocol}")
        return
    try:
        from core.tracing.sending import new_tracer
    except ImportError:
        log.warning("traces_not_sent", reason="the SDK is missing: pip install 'tunery[traces]'")
        return
    try:
        _tracer = new_tracer(process)
    except ValueError as error:
        log.warning("traces_not_sent", reason=f"a variable OTEL_… is wrong: {error}")


def _is_wanted() -> bool:
    variables = os.environ
    off = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return any(map(variables.get, ENDPOINTS)) and not off and variables.get("OTEL_TRACES_EXPORTER") != "none"


def stop() -> None:
    """Make no more spans in this process, and wait a moment until its last ones are sent.

    A process that ends by itself need not call this. One that ends by a signal does not get so far.
    """
    global _tracer
    ending, _tracer = _tracer, None
    if ending is not None:
        ending.end()


def is_on() -> bool:
    """Return whether this process sends spans. It is for what would cost something to prepare."""
    return _tracer is not None


def begin(
    name: str,
    attributes: Attributes = NONE,
    *,
    parent: str | None = None,
    kind: Kind = "internal",
    began: int | None = None,
) -> Span:
    """Begin a span that goes on with the trace of `parent`, or that begins a trace if there is none.

    `began` is the value of `time.time_ns()` at which the work has begun, if that is over.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.begin(name, attributes, {TRACEPARENT: parent} if parent else {}, kind, began)


def answering(name: str, attributes: Attributes, headers: Mapping[str, str]) -> Span:
    """Begin the span of a request. It goes on with the trace that the headers name, if they name one."""
    if _tracer is None:
        return NOTHING
    named = {header: headers[header] for header in (TRACEPARENT, TRACESTATE) if header in headers}
    return _tracer.begin(name, attributes, named, "server", None)


def always(name: str, attributes: Attributes = NONE) -> Span:
    """Begin a trace that no sampler drops, since traces that are kept refer to it."""
    return NOTHING if _tracer is None else _tracer.always(name, attributes)


def child(name: str, attributes: Attributes = NONE, kind: Kind = "internal") -> Span:
    """Begin a part of the current span. Without a current span there is nothing to trace."""
    return NOTHING if _tracer is None else _tracer.child(name, attributes, kind)


def mark(name: str, attributes: Attributes = NONE, *, parent: str | None, code: str | None = None) -> None:
    """Add a span that takes no time to the trace of `parent`, if there is one. A `code` marks a failure."""
    if parent is None:
        return
    span = begin(name, attributes, parent=parent)
    if code is not None:
        span.fail(code)
    span.end()


def within(traceparent: str | None) -> Span:
    """Let a span be the current one of a block, without ending it. It may be one of another process."""
    return NOTHING if _tracer is None or traceparent is None else _tracer.within(traceparent)


def unkept() -> Span:
    """Let the work of a block have the ids of the current trace, but send nothing of it."""
    traceparent = current().traceparent
    return NOTHING if traceparent is None else within(traceparent[:-2] + "00")


def current() -> Span:
    return NOTHING if _tracer is None else _tracer.current()


def ids() -> Mapping[str, str]:
    """Return the `trace_id` and `span_id` of the current span, for a line of the log."""
    return NO_IDS if _tracer is None else _tracer.ids()


def outgoing() -> dict[str, str]:
    """Return the headers with which another program goes on with the current trace."""
    return {} if _tracer is None else _tracer.outgoing()


def entering(
    name: str, manager: AbstractAsyncContextManager[T], attributes: Attributes = NONE
) -> AbstractAsyncContextManager[T]:
    """Return the manager. A span lasts while it is entered, and no longer."""
    return manager if _tracer is None else _entering(name, manager, attributes)


@asynccontextmanager
async def _entering(
    name: str, manager: AbstractAsyncContextManager[Any], attributes: Attributes
) -> AsyncIterator[Any]:
    async with AsyncExitStack() as held:
        with child(name, attributes):
            value = await held.enter_async_context(manager)
        yield value
