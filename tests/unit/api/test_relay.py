"""How an answer ends if its key ends and its work fails at the same time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from api.admission.callers import Caller
from api.chat.relay import Relay
from api.models.chat_models import ChatModel
from core.access.quotas import Quotas
from core.roles import Role
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import ServedModel

CALLER = Caller("project", "key", "req_1", Role.MEMBER, Quotas())
MODEL = ChatModel("base", ServedModel(base="base"))
REQUEST = TokenizeRequest(model="base", prompt="a")


class FailingPermit:
    """A permit that nobody gets. Who is cancelled meanwhile gets an error."""

    async def __aenter__(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("the line is broken") from None

    async def __aexit__(self, *_: object) -> None:
        pass


@contextmanager
def ended_key(_caller: Caller) -> Iterator[asyncio.Event]:
    ended = asyncio.Event()
    ended.set()
    yield ended


async def never(*_: Any) -> Any:
    await asyncio.Event().wait()


def test_work_that_fails_while_it_is_ended_tells_its_own_error() -> None:
    missed: list[dict[str, Any]] = []

    async def answer() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: missed.append(context))
        components: Any = SimpleNamespace(
            live_keys=SimpleNamespace(watched=ended_key),
            permits=SimpleNamespace(permit=lambda *_: FailingPermit()),
            stopping=asyncio.Event(),
        )
        await Relay(components, "/tokenize", REQUEST, MODEL, CALLER)({}, never, never)

    with pytest.raises(OSError, match="the line is broken"):
        asyncio.run(answer())
    assert missed == []
