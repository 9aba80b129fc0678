"""Compresses large JSON answers, such as the API's own document, for clients that take gzip.

Starlette does the work, in a thread if an answer is large. Everything but JSON passes as it is: the build of
the dashboard has compressed copies, streams of events compress themselves, and downloads may be asked for in
parts. No answer that can be read twice holds a secret, so the length of an answer tells nobody one.
"""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

LEAST_BYTES = 2048
LEVEL = 5  # level 9 takes three times as long for an answer that is 5 % smaller
NOT_JSON = (
    *("audio/*", "font/*", "image/*", "text/*", "video/*"),
    *("application/octet-stream", "application/zip", "application/javascript", "application/manifest+json"),
)


class Compression(GZipMiddleware):
    """ASGI middleware around everything that may answer with JSON."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, LEAST_BYTES, LEVEL, exclude_content_types=NOT_JSON)
