"""`--set PATH=VALUE` of `tunery jobs create`."""

from typing import Any

import pytest

from cli.client.request_settings import read_settings, with_settings
from core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "request_body"),
    [
        (["adapter.r=8"], {"adapter": {"type": "lora", "r": 8}}),
        (["adapter.r=auto"], {"adapter": {"type": "lora", "r": "auto"}}),
        (["adapter.type=oft", "adapter.type=hra"], {"adapter": {"type": "hra"}}),
        (["suffix=a=b"], {"adapter": {"type": "lora"}, "suffix": "a=b"}),
        (['metadata={"a.b": "1"}'], {"adapter": {"type": "lora"}, "metadata": {"a.b": "1"}}),
        (
            ["method.dpo.hyperparameters.beta=0.2"],
            {
                "adapter": {"type": "lora"},
                "method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}},
            },
        ),
    ],
)
def test_a_setting_stands_at_its_place(given: list[str], request_body: dict[str, Any]) -> None:
    assert with_settings({"adapter": {"type": "lora"}}, read_settings(given)) == request_body


@pytest.mark.parametrize("given", ["adapter", "=8", "adapter..r=8", ".r=8"])
def test_what_is_no_setting_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigurationError, match="such as adapter"):
        read_settings([given])
