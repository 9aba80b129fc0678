"""A line to the real object store, on which chosen requests are refused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from faults.serving import serving

Refusal = Callable[[str, str, int], bool]
"""Whether a store refuses a request, by its method, its path with the query, and the bytes of its body."""


class PickyStore:
    """Passes requests on to the real store. Those that `refuses` names are answered 507."""

    def __init__(self, store: str) -> None:
        self.url = ""
        self.refuses: Refusal = lambda _method, _path, _bytes: False
        self.requests: list[tuple[str, str, int]] = []
        self.refused: list[str] = []
        self._store = urlsplit(store).netloc

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        asked = request.command, request.path, len(body)
        self.requests.append(asked)
        if self.refuses(*asked):
            self.refused.append(request.path)
            request.send_response(507)
            request.send_header("content-length", "0")
            request.end_headers()
            return
        line = HTTPConnection(self._store)
        line.request(request.command, request.path, body, dict(request.headers))  # the signature covers Host
        answer = line.getresponse()
        content = answer.read()
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length") or request.command == "HEAD":
                request.send_header(name, value)
        if request.command != "HEAD":
            request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
        line.close()


@contextmanager
def picky_store_to(store: str) -> Iterator[PickyStore]:
    """Yield a line that listens, in front of the store with this URL."""
    picky = PickyStore(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            try:
                picky.answer(self)
            except (OSError, HTTPException):  # the store is away, or whoever asked
                self.close_connection = True

        do_HEAD = do_PUT = do_GET = do_DELETE = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as picky.url:
        yield picky
