"""Runs the requests of one exchange through the sampler, and sends the answers as they come."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from core.errors import InvalidRequest
from core.serving.errors import ReaderTooSlow, SamplingFailed
from core.serving.schemas.answers import Usage
from core.serving.schemas.sampling import Sampling
from core.tracing import spans
from worker.engine.sampler.requests import GenerationRequest, RequestRefused
from worker.server.answering.usage import TokenCount
from worker.server.exchange import Exchange
from worker.server.sampling.answer_stream import AnswerStream, Increment
from worker.server.sampling.loaded_base import LoadedBase
from worker.server.sampling.sampler_thread import AGAIN, SamplerBroken
from worker.server.writing import written

TOO_SLOW = "The answer is read too slowly: its log-probabilities fill the server's memory. Read faster."


class Form(Protocol):
    """Makes an answer, whole or in chunks, of the increments that the sampler gives."""

    def add(self, increment: Increment) -> None: ...
    def whole(self, usage: Usage) -> dict[str, Any]: ...
    def chunks(self, increment: Increment) -> Iterable[dict[str, Any]]: ...
    def usage_chunk(self, usage: Usage) -> dict[str, Any]: ...


class Generation:
    """The answers of one exchange. `params` are the request's names of the sampler's parameters."""

    def __init__(
        self,
        exchange: Exchange,
        base: LoadedBase,
        request: Sampling,
        form: Form,
        params: dict[str, str],
    ) -> None:
        self._exchange, self._base, self._request, self._form = exchange, base, request, form
        self._params = params
        self._part = spans.NOTHING
        """The part of the trace that lasts: the prompt until the first token, and then the other tokens"""

    async def run(self, asked: Sequence[GenerationRequest], count: TokenCount) -> None:
        """Answer. The sampler forgets the requests however this ends. Raises AppError and ClientGone."""
        stream = AnswerStream(self._base.end_tokens, lambda: self._exchange.end(ReaderTooSlow(TOO_SLOW)))
        self._part = spans.child("chat.prompt")
        try:
            await self._submit(asked, stream)
            await self._send(stream, len(asked), count)
        finally:
            self._part.end()
            self._exchange.usage = count.usage.model_dump()
            self._exchange.facts |= count.facts
            for each in asked:
                self._base.sampler.cancel(each.id)

    async def _submit(self, asked: Sequence[GenerationRequest], stream: AnswerStream) -> None:
        submit = self._base.sampler.submit
        try:
            await asyncio.gather(
                *(submit(each, partial(stream.put, index)) for index, each in enumerate(asked))
            )
        except RequestRefused as error:
            param = self._params.get(error.param, error.param)
            raise InvalidRequest(error.message, code="invalid_value", param=param) from error
        except SamplerBroken as error:
            raise SamplingFailed(AGAIN) from error

    async def _send(self, stream: AnswerStream, unfinished: int, count: TokenCount) -> None:
        while unfinished:
            events: list[bytes] = []
            for increment in await stream.take():
                if not self._exchange.generates:
                    self._note_first_token()
                self._exchange.generates = True
                if increment.last is not None:
                    unfinished -= 1
                    if increment.last.finish_reason == "error":
                        raise SamplingFailed(increment.last.error or "The computation failed.")
                count.add(increment, increment.index % self._request.choices == 0)
                if self._request.stream:
                    events += [self._event(chunk, count) for chunk in self._form.chunks(increment)]
                else:
                    self._form.add(increment)
            if events:
                await self._exchange.stream(events)
        if not self._request.stream:
            self._exchange.usage = count.usage.model_dump()
            await self._exchange.answer(200, written(self._form.whole(count.usage)))
            return
        if self._includes_usage:
            await self._exchange.stream([written(self._form.usage_chunk(count.usage))])
        await self._exchange.end_stream()

    def _note_first_token(self) -> None:
        """Begin the part of the trace for the tokens after the first one."""
        self._part.end()
        self._exchange.span.event("first_token")
        self._exchange.span.set({"tunery.time_to_first_token_seconds": round(self._exchange.seconds, 6)})
        self._part = spans.child("chat.decode")

    def _event(self, chunk: dict[str, Any], count: TokenCount) -> bytes:
        options = self._request.stream_options
        if self._includes_usage:
            chunk["usage"] = count.usage if options and options.continuous_usage_stats else None
        return written(chunk)

    @property
    def _includes_usage(self) -> bool:
        options = self._request.stream_options
        return options is not None and bool(options.include_usage or options.continuous_usage_stats)
