"""`tunery adapters compose`: what its arguments mean."""

import pytest

from cli.commands.adapters.compositions import _weighted

MODEL = "ft:tiny:project:suffix:123456789012"  # twelve hexadecimal digits may all be decimal


@pytest.mark.parametrize(
    ("text", "adapter", "weight"),
    [
        (f"{MODEL}:0.7", MODEL, 0.7),
        (f"{MODEL}:-1", MODEL, -1.0),
        ("prod:.5", "prod", 0.5),
        (f"{MODEL}:ckpt-step-12:2", f"{MODEL}:ckpt-step-12", 2.0),
    ],
)
def test_a_weight_follows_the_last_colon(text: str, adapter: str, weight: float) -> None:
    assert _weighted(text) == {"adapter": adapter, "weight": weight}


@pytest.mark.parametrize("text", [MODEL, f"{MODEL}:ckpt-step-12", "prod", "adapter-" + "0" * 32])
def test_a_name_alone_has_no_weight(text: str) -> None:
    assert _weighted(text) == {"adapter": text}
