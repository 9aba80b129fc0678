"""Adapters cut to their first ranks, without a library for tensors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from api.adapters.truncation import truncated_weights

NAME = "base_model.model.layers.{}.q_proj.lora_{}.weight"
R = 5


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [7, 10**6])
def test_the_first_ranks_stay_whatever_the_chunks(tmp_path: Path, dtype: torch.dtype, size: int) -> None:
    whole = {
        NAME.format(layer, factor): torch.randn(shape).to(dtype)
        for layer in range(3)
        for factor, shape in (("A", (R, 8 + layer)), ("B", (3 + layer, R)))
    }
    save_file(whole, tmp_path / "whole", metadata={"format": "pt"})
    content = (tmp_path / "whole").read_bytes()
    for rank in range(1, R + 1):
        (tmp_path / "cut").write_bytes(b"".join(truncated_weights(pieces(content, size), rank)))
        cut = load_file(tmp_path / "cut")
        assert cut.keys() == whole.keys()
        for name, tensor in cut.items():
            expected = whole[name][:rank] if "lora_A" in name else whole[name][:, :rank]
            assert torch.equal(tensor, expected), (rank, name)
        with safe_open(tmp_path / "cut", "pt") as opened:
            assert opened.metadata() == {"format": "pt"}


def test_a_file_that_ends_too_early_is_an_error(tmp_path: Path) -> None:
    save_file({NAME.format(0, "A"): torch.zeros(R, 8)}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()[:-1]
    with pytest.raises(EOFError, match="bytes are missing"):
        list(truncated_weights(pieces(content, 100), 2))
