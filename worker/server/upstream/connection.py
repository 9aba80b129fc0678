"""The connection to the upstream: who it is, whether it answers, and requests to it."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import structlog

from core.serving.registry import LASTS
from core.settings import Settings
from core.tracing import spans
from worker.server.errors import ModelUnavailable
from worker.server.registration import NotReady
from worker.server.upstream.errors import LoadingRefused, UpstreamLost, refusal

OLDEST = (0, 32)  # an older vLLM scales some adapters wrongly: it ignores `rank_pattern` and `alpha_pattern`

ENGINE_DEAD = "EngineCore encountered an issue"

# Seconds
CONNECT = 2.0
LOOK = 2.0  # so that a row outlasts a slow look: two requests, and the pauses around them
SILENCE = 600.0  # a whole answer comes at once, at its end
LOADING = 120.0

log = structlog.get_logger()


class Upstream:
    """One vLLM server. `look` runs in the registration's thread, and everything else in the event loop."""

    def __init__(self, base: str, url: str, key: str | None) -> None:
        """`base` is the id of its base model in the catalog."""
        self.base, self.url = base, url.rstrip("/")
        self.model = ""
        """The upstream's own name for its base model, once it has answered."""
        self.version = ""
        self.max_length = 0
        """The most tokens of a prompt and its answer."""
        self.answered_at = time.monotonic()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        kept: dict[str, Any] = {"base_url": self.url, "headers": headers, "trust_env": False}
        self._looking = httpx.Client(**kept, timeout=LOOK)
        self._http = httpx.AsyncClient(
            **kept,
            # A connection that was kept could be one that the upstream has just closed
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            timeout=httpx.Timeout(SILENCE, connect=CONNECT, pool=None),
        )

    @classmethod
    def of(cls, settings: Settings) -> "Upstream | None":
        """Return the upstream that the settings name, if any."""
        if settings.serve_upstream is None:
            return None
        base, _, url = settings.serve_upstream.partition("=")
        key = settings.serve_upstream_key
        return cls(base, url, key.get_secret_value() if key else None)

    def look(self) -> None:
        """Ask the upstream for its models. Raises NotReady if it does not answer as it must."""
        try:
            models = self._read("/v1/models")["data"]
            base = next(model for model in models if model.get("parent") is None)
            self.model, self.max_length = str(base["id"]), int(base["max_model_len"])
            self.version = str(self._read("/version")["version"])
        except (httpx.HTTPError, ValueError) as error:
            raise NotReady(f"The upstream {self.url} does not answer: {_reason(error)}") from error
        except (LookupError, TypeError, StopIteration) as error:
            raise NotReady(f"The upstream {self.url} does not answer as vLLM does.") from error
        if _release(self.version) < OLDEST:
            raise NotReady(
                f"The upstream {self.url} is vLLM {self.version}, which is too old. "
                f"Install {'.'.join(map(str, OLDEST))} or newer."
            )
        self.answered_at = time.monotonic()

    @asynccontextmanager
    async def begun(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """Yield an answer whose status is 200, once it has begun. The upstream stops if the block is left.

        Raises what `errors.refusal` makes of another status, and UpstreamLost.
        """
        try:
            async with self._http.stream("POST", path, json=body, headers=spans.outgoing()) as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, await response.aread())
                yield response
        except httpx.HTTPError as error:
            raise UpstreamLost(_reason(error)) from error

    async def load(self, name: str, folder: str) -> None:
        """Let the upstream load an adapter, if it has not.

        Raises LoadingRefused, ModelUnavailable if the operator must change the upstream, and UpstreamLost.
        """
        status, text = await self._tell("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder})
        if status == 200 or "has already been loaded" in text:
            return
        if status == 404:
            known = "No adapter found" in text or name in text
            log.error("upstream_finds_no_adapter" if known else "upstream_loads_no_adapters", folder=folder)
            raise ModelUnavailable(
                "The upstream of this model finds no adapter in the folder TUNERY_SERVE_UPSTREAM_FOLDER. Its "
                "operator must let it read this folder under the same path."
                if known
                else "The upstream of this model loads no adapters. Its operator must start it with "
                "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1."
            )
        if ENGINE_DEAD in text:
            raise UpstreamLost("its engine has failed")
        raise LoadingRefused(text)

    async def unload(self, name: str) -> None:
        """Let the upstream forget an adapter. Raises UpstreamLost."""
        await self._tell("/v1/unload_lora_adapter", {"lora_name": name})

    async def adapters(self) -> list[str]:
        """Return the names of the adapters that the upstream has. Raises UpstreamLost."""
        try:
            answer = await self._http.get("/v1/models", timeout=LOOK)
            answer.raise_for_status()
            return [model["id"] for model in answer.json()["data"] if model.get("parent") is not None]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise UpstreamLost(_reason(error)) from error

    async def close(self) -> None:
        await self._http.aclose()

    async def _tell(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        try:
            answer = await self._http.post(path, json=body, timeout=LOADING)
        except httpx.HTTPError as error:
            raise UpstreamLost(_reason(error)) from error
        return answer.status_code, _message(answer.text)

    def _read(self, path: str) -> Any:
        answer = self._looking.get(path)
        answer.raise_for_status()
        return answer.json()


class StateWhileAnswering:
    """The state of the server's row, as long as the upstream answers. The registration's thread calls it."""

    def __init__(
        self, upstream: Upstream, state: Callable[[], dict[str, Any]], lost: Callable[[], object]
    ) -> None:
        """`lost` is called when the upstream has not answered for as long as the row lasts."""
        self._upstream, self._state, self._lost = upstream, state, lost

    def __call__(self) -> dict[str, Any]:
        """Return the columns that change. Raises NotReady."""
        try:
            self._upstream.look()
        except NotReady:
            if time.monotonic() - self._upstream.answered_at > LASTS.total_seconds():
                self._lost()
            raise
        return {**self._state(), "resident": self._upstream.base}


def _message(text: str) -> str:
    """Return the message of an error, if the text is one in OpenAI's form."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text


def _release(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else OLDEST


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        wrong_key = ", so TUNERY_SERVE_UPSTREAM_KEY is wrong" if status in (401, 403) else ""
        return f"status {status}{wrong_key}"
    return type(error).__name__
