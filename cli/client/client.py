"""A thin client of our own REST API. `connect` finds the server and the key of a command."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import quote, urlsplit

import typer

from cli.client.errors import Refused, Unreachable
from cli.client.findings import with_findings
from cli.client.home import Home, read
from core.errors import ConfigurationError
from core.process.loopback import is_loopback

if TYPE_CHECKING:
    import httpx

DEFAULT_BASE_URL = "http://127.0.0.1:8000/v1"

# Seconds. The read timeout is long because the server checks a large file before it answers.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 120.0
EVENT_TIMEOUT = 600.0  # before its first event, an answer may wait until a model is loaded

BaseUrl = Annotated[
    str | None,
    typer.Option(envvar="TUNERY_BASE_URL", help="The address of the API", show_default="HOME/base-url"),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="TUNERY_API_KEY",
        help="Your key. Set the variable instead to hide the key from `ps`",
        show_default="HOME/api-key",
    ),
]


class Client:
    """Sends requests and returns the JSON of the answers. Every method raises Refused or Unreachable."""

    def __init__(self, base_url: str, api_key: str) -> None:
        import httpx

        self.base_url = normalised(base_url)
        self.uploaded: list[str] = []  # the ids of files that this command has sent
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            trust_env=not is_loopback(self.base_url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        return self._json("GET", path, params=without_none(**parameters))

    def post(
        self, path: str, body: dict[str, Any] | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Send a JSON body. An answer that takes long may have `seconds`."""
        patience = {} if seconds is None else {"timeout": seconds}
        return self._json("POST", path, json=body, **patience)

    def delete(self, path: str) -> dict[str, Any]:
        return self._json("DELETE", path)

    def upload(self, filename: str, content: IO[bytes], purpose: str) -> dict[str, Any]:
        """Send a file while it is read. The file is never in memory as a whole."""
        files = {"file": (filename, content, "application/octet-stream")}
        file = self._json("POST", "/files", data={"purpose": purpose}, files=files)
        self.uploaded.append(file["id"])
        return file

    def every(self, path: str, limit: int | None = None, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page after page, at most `limit` of them."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.get(path, limit=min(left or 100, 100), after=after, **parameters)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = page["data"][-1]["id"]
            left = None if left is None else left - len(page["data"])

    def download(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of the answer in chunks."""
        import httpx

        try:
            with self._http.stream("GET", path) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of the answer while they come. If the caller stops early, the server stops too."""
        import httpx

        try:
            with self._http.stream("POST", path, json=body, timeout=EVENT_TIMEOUT) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                for line in answer.iter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        yield _event(line.removeprefix("data: "), answer)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _json(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        import httpx

        try:
            answer = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise _refusal(answer)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refused(
                answer.status_code,
                f"{answer.url} is not Tunery: its answer is not a JSON object. Check the URL",
            )
        return value

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(f"No answer from {self.base_url}: {reason}. Is `tunery up` running?")


def connect(home: Path, base_url: str | None, api_key: str | None) -> Client:
    """Return a client. The server and key come from the options, the variables, or the state folder.

    Raises ConfigurationError if there is no key, or if the URL is wrong.
    """
    folder = Home(home)
    key = api_key or read(folder.api_key)
    if key is None:
        raise ConfigurationError(
            f"No API key: pass --api-key, set TUNERY_API_KEY, or start `tunery up`, which leaves one in "
            f"{folder.api_key}. If it runs already, name its folder: --home or TUNERY_HOME"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("The API key has characters that cannot be in a key; a key looks like tnr_…")
    return Client(base_url or read(folder.base_url) or DEFAULT_BASE_URL, key)


def normalised(base_url: str) -> str:
    """Return the URL with `/v1` at its end. Raises ConfigurationError if it is not an http(s) URL."""
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"{base_url!r} is not a base URL; a base URL looks like {DEFAULT_BASE_URL}")
    trimmed = base_url.rstrip("/")
    return trimmed if trimmed.endswith("/v1") else f"{trimmed}/v1"


def without_none(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def path_to(path: str, *names: str) -> str:
    """Return the path below `path` to which these names lead. A name may have any characters."""
    return "/".join([path, *(quote(name, safe="") for name in names)])


def _event(data: str, answer: "httpx.Response") -> dict[str, Any]:
    """Return an event of a stream. Raises Refused if it is the error that the stream ends with."""
    event: dict[str, Any] = json.loads(data)
    if "error" in event:
        raise Refused(answer.status_code, str(event["error"]["message"]), event["error"].get("code"))
    return event


def _refusal(answer: "httpx.Response") -> Refused:
    try:
        error = answer.json()["error"]
        return Refused(answer.status_code, with_findings(error), error.get("code"), error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(answer.status_code, f"{answer.url} answered {answer.reason_phrase or 'with an error'}")
