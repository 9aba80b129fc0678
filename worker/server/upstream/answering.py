"""Answers chats and completions by handing them on to the upstream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from core.catalog import offered_models
from core.serving.errors import UnsuitedServer
from core.serving.event_stream import DONE
from core.serving.paths import CHAT, COMPLETIONS
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.sampling import Sampling
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import ServedModel
from core.settings import Settings
from worker.server.exchange import Exchange
from worker.server.reading import head, no_base_model, served_model, system_fingerprint
from worker.server.stored import FOR_ANSWERS, open_store
from worker.server.upstream.adapters import UpstreamAdapters
from worker.server.upstream.answer_form import AnswerForm, events_of
from worker.server.upstream.connection import Upstream
from worker.server.upstream.errors import AdapterForgotten, UpstreamLost, failure
from worker.server.upstream.request_form import chat_body, completion_body
from worker.server.writing import written


class UpstreamModels:
    """What the upstream answers with: one base model, and adapters."""

    load = loading = None
    """The upstream alone knows how busy it is."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._upstream = upstream
        entry = offered_models(settings).get(upstream.base)
        assert entry is not None, "the upstream's base model was looked up when the server started"
        self._adapters = UpstreamAdapters(
            open_store(settings, FOR_ANSWERS),
            upstream,
            entry.repository,
            settings.upstream_folder,
            settings.serve_adapter_bytes,
        )

    @property
    def resident(self) -> str:
        return self._upstream.base

    @property
    def warm_adapters(self) -> list[str]:
        """The content hashes of the adapters that the upstream has. May be read from any thread."""
        return self._adapters.warm

    @asynccontextmanager
    async def use(self, model: ServedModel) -> AsyncIterator[str]:
        """Yield the model's name in the upstream. Raises NotFound, and what loading an adapter raises."""
        if model.base != self._upstream.base:
            raise no_base_model(model.base)
        if model.adapter is None:
            yield self._upstream.model
            return
        async with self._adapters.use(model.adapter) as name:
            yield name


class UpstreamAnswering:
    """Hands requests on to the upstream, and its answers back. Only the event loop may call."""

    def __init__(self, settings: Settings, upstream: Upstream, _get_renderer: object) -> None:
        self.models = UpstreamModels(settings, upstream)
        self._upstream = upstream

    async def chat(self, exchange: Exchange, request: ChatRequest, served: Any) -> None:
        """Answer a chat. Raises AppError and ClientGone."""
        model = served_model(exchange, served)
        content = chat_body(request, self._upstream.max_length, exchange.project)
        await self._answer(exchange, CHAT, request, content, model)

    async def complete(self, exchange: Exchange, request: CompletionRequest, served: Any) -> None:
        """Answer a request for completions. Raises AppError and ClientGone."""
        model = served_model(exchange, served)
        content = completion_body(request, self._upstream.max_length, exchange.project)
        await self._answer(exchange, COMPLETIONS, request, content, model)

    async def tokenize(self, _exchange: Exchange, request: TokenizeRequest, _served: Any) -> None:
        """Raise UnsuitedServer: vLLM does not tell the text that its chat template makes."""
        raise UnsuitedServer(
            f"The upstream of {request.model} does not show its prompts. Ask the operator for a server "
            "without an upstream (`tunery serve`).",
            param="model",
        )

    async def close(self) -> None:
        await self._upstream.close()

    async def _answer(
        self, exchange: Exchange, path: str, request: Sampling, body: dict[str, Any], model: ServedModel
    ) -> None:
        """Answer. An upstream that was started anew gets its adapter once more."""
        try:
            await self._hand_on(exchange, path, request, body, model)
        except AdapterForgotten:
            try:
                await self._hand_on(exchange, path, request, body, model)
            except AdapterForgotten as error:
                raise UpstreamLost("it forgets adapters") from error

    async def _hand_on(
        self, exchange: Exchange, path: str, request: Sampling, body: dict[str, Any], model: ServedModel
    ) -> None:
        is_chat = path == CHAT
        options = request.stream_options
        fingerprint = system_fingerprint(self._upstream.base, self._upstream.version)
        form = AnswerForm(
            head("chatcmpl-" if is_chat else "cmpl-", request, fingerprint),
            is_chat=is_chat,
            tells_usage=bool(options and (options.include_usage or options.continuous_usage_stats)),
        )
        async with self.models.use(model) as name:
            exchange.generates |= not request.stream  # a whole answer comes at once, at its end
            async with self._upstream.begun(path, {"model": name, **body}) as response:
                if request.stream:
                    await self._stream(exchange, response, form)
                else:
                    answer = form.whole(await response.aread())
                    _note(exchange, answer.get("usage"))
                    await exchange.answer(200, written(answer))

    async def _stream(self, exchange: Exchange, response: httpx.Response, form: AnswerForm) -> None:
        async for data in events_of(response.aiter_raw()):
            if data == DONE:
                await exchange.end_stream()
                return
            event = json.loads(data)
            if "error" in event:
                raise failure(event)
            exchange.generates = True
            chunk = form.chunk(event)
            _note(exchange, None if chunk.usage is None else chunk.usage.model_dump())
            await exchange.stream([chunk.model_dump_json(exclude_unset=True).encode()])
        raise UpstreamLost("its answer has no end")


def _note(exchange: Exchange, usage: dict[str, Any] | None) -> None:
    if usage is not None:
        exchange.usage = usage
        exchange.facts |= {name: usage[name] for name in ("prompt_tokens", "completion_tokens")}
