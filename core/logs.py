"""Structured logs of every process: one line per event on stderr, as text for people or JSON for machines."""

import logging
import sys

import structlog


def configure_logs(level: str, as_json: bool) -> None:
    """Set up the logs of this process. `level` is debug, info, warning or error."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(name)s %(message)s")
    if as_json:
        logging.captureWarnings(True)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_json_lines_of_libraries())
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=False,
            # without the values of local variables, which may contain keys
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,  # the API writes a line for each request
    )


def _json_lines_of_libraries() -> logging.Formatter:
    """Return the formatter that gives the lines of uvicorn, Celery and other libraries our own form."""
    stdlib = structlog.stdlib
    return stdlib.ProcessorFormatter(
        processors=[stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            stdlib.add_log_level,
            stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
    )
