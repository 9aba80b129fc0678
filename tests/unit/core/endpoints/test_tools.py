"""Tools as a client declares them."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.endpoints.tools import EndpointTool

TOOL = {"name": "get_weather-2", "server_url": "https://example.com/call"}


def test_a_tool_has_an_address_and_may_have_headers() -> None:
    tool = EndpointTool.model_validate(TOOL)
    assert (tool.address, tool.headers, tool.most_per_second) == (TOOL["server_url"], None, None)
    assert set(EndpointTool.model_fields) == {"name", "server_url", "headers"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "get weather"},
        {"name": "wetter_für"},
        {"name": "weather\n"},
        {"server_url": ""},
        {"type": "endpoint"},
    ],
)
def test_what_is_no_tool_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EndpointTool.model_validate({**TOOL, **wrong})
