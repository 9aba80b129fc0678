"""An endpoint of somebody else's, which takes down what is sent to it and answers as it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from faults.serving import serving


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers with `statuses`, one after another, and then with 200. A status of 0 breaks the connection.

    The answers that are errors have `body`.
    """

    url: str
    statuses: list[int] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    body: bytes = b""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield a receiver that listens."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = seen.statuses.pop(0) if seen.statuses else 200
            seen.requests.append(Request(self.path, headers, body))
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{seen.url}/elsewhere")
            content = seen.body if status >= 400 else b""
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    seen = Receiver("")
    with serving(Handler) as seen.url:
        yield seen
