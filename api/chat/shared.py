"""The components of the API that chats and completions share."""

import asyncio
from typing import Self

from pydantic import BaseModel
from sqlalchemy.orm import Session, sessionmaker

from api.admission.callers import Caller
from api.admission.live_keys import LiveKeys
from api.chat.afterwards import Afterwards
from core.access.rates import Counters, TokenRates
from core.serving.dispatch.dispatcher import Dispatcher
from core.serving.permits import ChatPermits
from core.serving.served_model import ServedModel
from core.serving.shared_permits import SharedPermits
from core.serving.token import server_token
from core.settings import Settings

LAST_WORD_SECONDS = 3.0  # before the API is out of time, in which streams end with an error
COUNT_SECONDS = 5.0


class ChatComponents:
    """Permits, servers, usage and quotas of chats and completions. Only the event loop may call."""

    def __init__(
        self,
        permits: ChatPermits,
        dispatcher: Dispatcher,
        afterwards: Afterwards,
        rates: TokenRates,
        live_keys: LiveKeys,
    ) -> None:
        self.permits, self.dispatcher, self.afterwards, self.rates = permits, dispatcher, afterwards, rates
        self.live_keys = live_keys
        self.stopping = asyncio.Event()

    @classmethod
    def of(
        cls,
        settings: Settings,
        sessions: sessionmaker[Session],
        reading: sessionmaker[Session],
        counters: Counters,
        live_keys: LiveKeys,
    ) -> Self:
        """Return the components for these settings. Without secret keys, no server would accept a request."""
        rates = TokenRates(counters)
        token = server_token(settings.secret_keys) if settings.secret_keys else None
        return cls(
            ChatPermits(SharedPermits(counters), settings.project_waiting_chats, settings.chat_wait_seconds),
            Dispatcher(reading, token, settings.chat_wait_seconds),
            Afterwards(sessions, rates),
            rates,
            live_keys,
        )

    async def carried_out(self, caller: Caller, path: str, base: str, key: str, order: BaseModel) -> bytes:
        """Have a server of the base model carry out an order. Return its answer, or raise what it answers.

        The order takes a permit of the project. `key` chooses the server: equal keys go to the same one.
        """
        most, content = caller.quotas.concurrent_chats or 1, order.model_dump_json().encode()
        async with (
            self.permits.permit(caller.project_id, most),
            self.dispatcher.begun(path, ServedModel(base=base), key, content, caller.project_id) as response,
        ):
            return await response.aread()

    def stop_within(self, seconds: float) -> None:
        """Let answers go on, but end them before so many seconds are over."""
        asyncio.get_running_loop().call_later(max(0, seconds - LAST_WORD_SECONDS), self.stopping.set)

    async def close(self) -> None:
        """Count what is not counted yet, and close the connections to servers."""
        await self.afterwards.settle(COUNT_SECONDS)
        self.permits.close()
        await self.dispatcher.close()
