"""LiteLLM chats with a model by `api_base`, sync, async and streamed."""

import asyncio
from types import ModuleType
from typing import Any

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.serving import ServerProcess

pytestmark = pytest.mark.slow  # the import of LiteLLM takes seconds


@pytest.fixture
def asked(chat_api: Api, server: ServerProcess) -> dict[str, Any]:
    return {
        "model": f"openai/{TINY}",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_tokens": 8,
        "api_base": f"{chat_api.url}/v1",
        "api_key": chat_api.tenant().key,
        "max_retries": 0,
    }


def test_litellm_gets_the_same_answer_in_every_way(litellm: ModuleType, asked: dict[str, Any]) -> None:
    whole = litellm.completion(**asked).choices[0].message.content
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in litellm.completion(**asked, stream=True)
    )
    later = asyncio.run(litellm.acompletion(**asked)).choices[0].message.content
    assert whole == streamed == later


def test_an_error_becomes_litellms_own(litellm: ModuleType, asked: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError, match="does not exist"):
        litellm.completion(**{**asked, "model": "openai/unheard-of"})
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**{**asked, "temperature": 3})
