"""OpenAI's official client for Node chats with a model, whole and streamed. The steps are in tests/node."""

import pytest

from tests.fixtures.clients.node_client import assert_holds
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.serving import ServerProcess

pytestmark = pytest.mark.slow  # a server loads torch


def test_the_official_client_of_node_chats(chat_api: Api, server: ServerProcess) -> None:
    assert_holds("chat.test.mjs", chat_api.tenant(), TINY)
