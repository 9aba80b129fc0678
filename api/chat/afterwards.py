"""What follows an answer: its tokens are counted in the project's usage and quota, and it may be stored."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.admission.callers import Caller
from api.stored_completions.assembly import whole_answer
from api.stored_completions.service import may_store, store
from core.access import chat_usage
from core.access.chat_usage import ModelUsage, Tokens
from core.access.rates import TokenRates
from core.serving.schemas.sampling import Sampling

# The answers that wait for a database that is away. More are not counted.
MOST_PENDING = 10_000

log = structlog.get_logger()


@dataclass
class Finished:
    """A request whose answer has ended, also if it ended early. `model` is the name of the model.

    For an answer that shall be stored, `answer` is the whole answer, or `events` are the chunks of a stream.
    Both are JSON in OpenAI's form.
    """

    caller: Caller
    request: Sampling
    model: str
    usage: dict[str, Any] | None
    answer: bytes | None = None
    events: list[bytes] = field(default_factory=list)

    def without_content(self) -> "Finished":
        return replace(self, answer=None, events=[])

    @property
    def tokens(self) -> Tokens:
        usage = self.usage or {}
        details = usage.get("prompt_tokens_details") or {}
        return Tokens(
            1,
            usage.get("prompt_tokens", 0),
            details.get("cached_tokens") or 0,
            usage.get("completion_tokens", 0),
        )


class Afterwards:
    """Counts answers, several at once if they end at once. Only the event loop may call."""

    def __init__(self, sessions: sessionmaker[Session], rates: TokenRates) -> None:
        self._sessions, self._rates = sessions, rates
        self._pending: list[Finished] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = CapacityLimiter(1)

    def note(self, finished: Finished) -> None:
        """Count the answer soon, unless it never began, so that its tokens are not known."""
        if finished.usage is None or len(self._pending) >= MOST_PENDING:
            return
        self._pending.append(finished)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def settle(self, seconds: float) -> None:
        """Wait until all answers so far are counted, but not longer than this."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=seconds)

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await to_thread.run_sync(self._write, batch, limiter=self._thread)
            except SQLAlchemyError as error:
                log.warning("usage_not_written", answers=len(batch), error=str(error))
                # They go with the next answer, without what they said: ten thousand answers take much memory
                self._pending = [*(each.without_content() for each in batch), *self._pending]
                return

    def _write(self, batch: list[Finished]) -> None:
        day = chat_usage.today()
        used = [ModelUsage(day, each.caller.project_id, each.model, each.tokens) for each in batch]
        with self._sessions.begin() as session:
            chat_usage.record(session, used)
        for each in batch:
            most = each.caller.quotas.tokens_per_minute
            if most is not None:
                total = each.tokens.prompt_tokens + each.tokens.completion_tokens
                self._rates.add(each.caller.project_id, most, total)
            self._store(each)

    def _store(self, finished: Finished) -> None:
        """Store the answer if its client has asked for it, unless it ended early or is too long."""
        if not may_store(finished.caller, finished.request):
            return
        whole = finished.answer
        answer = json.loads(whole) if whole else whole_answer([json.loads(each) for each in finished.events])
        if answer is not None:
            asked = finished.request.model_dump(mode="json", by_alias=True, exclude_unset=True)
            store(self._sessions, finished.caller, asked, answer)
