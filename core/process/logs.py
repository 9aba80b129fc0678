"""Structured logs of every process: one line per event on stderr, as text for people or JSON for machines.

Values may come from clients. In text, their control characters are escaped, and further lines of an entry are
indented: no value can look like a line of its own, or send commands to a terminal. JSON escapes them anyway.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from core.tracing import spans

LIBRARY_LINE = "%(levelname)s %(name)s %(message)s"
OF_SEVERAL_LINES = ("exception", "stack")
INDENT = "    "

Entry = MutableMapping[str, Any]


def configure_logs(level: str, as_json: bool) -> None:
    """Set up the logs of this process. `level` is debug, info, warning or error."""
    logging.basicConfig(stream=sys.stderr, level=level.upper())
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_json_lines_of_libraries() if as_json else _TextLines(LIBRARY_LINE))
    if as_json:
        logging.captureWarnings(True)
    renderers = [structlog.processors.JSONRenderer()] if as_json else _text_renderers()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,  # the API writes a line for each request
    )


def _add_trace(_logger: object, _method: str, event: Entry) -> Entry:
    """Add the `trace_id` and `span_id` of the work that writes the entry, if it is traced."""
    event.update(spans.ids())
    return event


def _escaped(text: str) -> str:
    """Return the text with an escape sequence in place of each character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _text_renderers() -> list[structlog.typing.Processor]:
    return [
        _escape_values,
        structlog.dev.ConsoleRenderer(
            colors=False,
            # without the values of local variables, which may contain keys
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _escape_values(_logger: object, _method: str, event: Entry) -> Entry:
    """Escape the strings of an entry. The renderer writes all other values by `repr`, which escapes too."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = INDENT + _indented(value) if name in OF_SEVERAL_LINES else _escaped(value)
    return event


def _indented(text: str) -> str:
    """Return the text with each line escaped, and each further line indented."""
    return f"\n{INDENT}".join(map(_escaped, text.rstrip("\n").split("\n")))


class _TextLines(logging.Formatter):
    """Writes the entries of uvicorn, Celery and other libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return _indented(super().format(record))


def _json_lines_of_libraries() -> logging.Formatter:
    """Return the formatter that gives the lines of uvicorn, Celery and other libraries our own form."""
    stdlib = structlog.stdlib
    return stdlib.ProcessorFormatter(
        processors=[stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            _add_trace,
            stdlib.add_log_level,
            stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
    )
