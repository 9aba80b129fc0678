"""What a device computes with: which, compiled how often, and the whole engine with a GPU's on a CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import PORTABLE, TINY
from tests.fixtures.engine.gpu_kernels import (
    COLUMNS,
    FLEX,
    HEADS,
    ON_QUERIES,
    UNCOMPILED,
    K,
    share,
    train_two,
    tree,
)
from tests.fixtures.engine.twins import assert_twins_agree, relative_difference, rotation
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.dropout import dropped
from worker.engine.batch.lanes import Lanes
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.portable import PortableDecoder
from worker.engine.kernels import elementwise, operations, projection
from worker.engine.kernels.attention import Layout, segment_attention, segment_attention_plainly
from worker.engine.kernels.frozen_weight import DenseWeight
from worker.engine.kernels.loss import token_losses, token_losses_plainly

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

LENGTHS = [(300, 20, 30), (700, 10), (301, 5), (50, 600, 70), (513,), (20, 30), (17,), (40, 3)]
WEIGHT_D, W = torch.linspace(-1, 1, 160), DenseWeight(torch.linspace(-1, 1, 64 * K).sin().view(64, K))

HEAD = torch.linspace(-1, 1, 50 * 160).sin().view(50, 160)


def labelled(x_SD: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and weights for as many tokens."""
    return torch.arange(len(x_SD)) % 50, torch.arange(len(x_SD)) / len(x_SD)


def dropped_in_layers(drop: projection.Drop, x_TK: Tensor) -> Tensor:
    """Some inputs of x, dropped as three layers would do it."""
    seeds_T = torch.arange(len(x_TK), dtype=torch.int32)
    widths = {-7: 160, 2**31 - 1: 160, 5: 96, 6: 80}
    return torch.cat([drop(x_TK[:, :width], seeds_T, salt, 0.3) for salt, width in widths.items()], dim=1)


Kernel = Callable[[Tensor, Layout, list[projection.Share]], Tensor]
KERNELS: dict[str, tuple[int, int, Callable[[operations.Operations], Kernel], Kernel]] = {
    "attention": (
        3,  # for the first length, for all beyond a tile, for all within one
        160,
        lambda do: lambda x, layout, _: do.segment_attention(x, layout, 0.3),
        lambda x, layout, _: segment_attention_plainly(x, layout, 0.3),
    ),
    "norm": (
        1,
        160,
        lambda do: lambda x, *_: do.norm(x, WEIGHT_D, 1e-5),
        lambda x, *_: elementwise.rms_norm_plainly(x, WEIGHT_D, 1e-5),
    ),
    "losses": (
        1,
        160,
        lambda do: lambda x, *_: token_losses(x, DenseWeight(HEAD), *labelled(x), do.block_losses).weighted_S,
        lambda x, *_: token_losses_plainly(x, HEAD, *labelled(x)).weighted_S,
    ),
    "drop": (
        3,  # for one layer, for layers of one width, for all layers
        160,
        lambda do: lambda x, *_: dropped_in_layers(do.drop, x),
        lambda x, *_: dropped_in_layers(dropped, x),
    ),
    "norm before a projection": (
        2,  # in the forward pass, and again in the backward pass
        K,
        lambda do: lambda x, _, shares: do.project_norm(x, WEIGHT_D[:K], 1e-5, W, shares),
        lambda x, _, shares: projection.project_plainly(
            elementwise.rms_norm_plainly(x, WEIGHT_D[:K], 1e-5), W, shares
        ),
    ),
    "gate": (
        2,  # in the forward pass, and again in the backward pass
        2 * K,
        lambda do: lambda x, _, shares: do.project_swiglu(x, W, shares),
        lambda x, _, shares: projection.project_plainly(elementwise.swiglu_plainly(x), W, shares),
    ),
}


@FLEX
@pytest.mark.parametrize(("compilations", "width", "ours", "plain"), KERNELS.values(), ids=KERNELS)
def test_a_compiled_part_is_one_graph_and_serves_all_lengths(
    compilations: int, width: int, ours: Callable[[operations.Operations], Kernel], plain: Kernel
) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = ours(operations.on_gpu(partial(torch.compile, backend=counter, fullgraph=True)))
    for lengths in LENGTHS:
        segments = tree(*lengths)
        tokens = segments[-1].end
        layout = Layout(segments, HEADS, *rotation(segments, HEADS.size, torch.float32))
        shares = [share(slice(0, tokens), {0: 4}, torch.float32, COLUMNS)]
        assert_twins_agree(
            torch.float32,
            lambda x, a=layout, b=shares: compiled(x, a, b),
            lambda x, a=layout, b=shares: plain(x, a, b),
            torch.randn(tokens, width),
        )
    assert counter.frame_count == compilations


@pytest.mark.exhaustive
@FLEX
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("fast", {"norm", "segment_attention", "project", "project_norm", "project_swiglu", "drop"}),
        ("portable", {"project", "attend", "drop"}),
    ],
    ids=["fast", "portable"],
)
@pytest.mark.parametrize(
    "second",
    [ON_QUERIES, LoraAdapter(r=9, use_dora=True, lora_dropout=0.2)],
    ids=["LoRA", "DoRA and dropout"],
)
def test_a_cohort_trains_to_the_same_adapters(
    path: str, expected: set[str], second: LoraAdapter, tiny_folder: Path, tmp_path: Path
) -> None:
    """The whole engine with what a GPU computes with, beside a CPU's."""
    folder = tiny_folder if path == "fast" else tmp_path
    if path == "portable":
        save_model(PORTABLE["gemma 2, capped scores and logits"](), folder)
    used: set[str] = set()
    outcomes = []
    for on_gpu in (False, True):
        base = ResidentBase(TINY, folder, "", torch.device("cpu"))
        if on_gpu and path == "fast":
            base.decoder, base.lanes = Decoder(base.model, noted(UNCOMPILED, used)), Lanes(1)
        elif on_gpu:
            assert isinstance(base.decoder, PortableDecoder)
            base.decoder._ops = noted(UNCOMPILED, used)
        outcomes.append(train_two(base, second))
    (cpu_losses, cpu_adapters), (losses, adapters) = outcomes
    assert used == expected - ({"drop"} if not second.lora_dropout else set())
    for name in losses:
        assert losses[name] == pytest.approx(cpu_losses[name], rel=1e-5)
    for ours, theirs in zip(adapters, cpu_adapters, strict=True):
        assert relative_difference(ours, theirs) < 1e-4


def noted(do: operations.Operations, used: set[str]) -> operations.Operations:
    """The same, with the names of those that are called; `block_losses` is not a function."""

    def noting(name: str) -> Callable[..., Tensor]:
        def call(*args: Any, **options: Any) -> Tensor:
            used.add(name)
            return getattr(do, name)(*args, **options)

        return call

    names = set(vars(do)) - {"block_losses"}
    return operations.Operations(**{name: noting(name) for name in names}, block_losses=do.block_losses)


def test_a_cpu_computes_with_the_hand_written_functions() -> None:
    """Whose results are the same to the bit from run to run."""
    assert operations.operations_on(torch.device("cpu")) is operations.ON_CPU
    assert operations.ON_CPU.norm is elementwise.rms_norm
    assert operations.ON_CPU.project is projection.project
    assert operations.ON_CPU.segment_attention is segment_attention


@pytest.mark.parametrize(
    ("capability", "compiler", "expected"),
    [
        ((9, 0), True, set(vars(operations.ON_CPU))),
        ((8, 0), True, set(vars(operations.ON_CPU))),
        ((12, 0), True, set(vars(operations.ON_CPU))),
        ((9, 0), False, set()),
    ],
    ids=["Hopper", "Ampere", "consumer Blackwell", "no compiler"],
)
def test_a_gpu_takes_what_it_has_and_a_cpus_function_for_the_rest(
    capability: tuple[int, int], compiler: bool, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(operations, "can_compile", lambda: compiler)
    found = operations.operations_on.__wrapped__(torch.device("cuda"))
    differing = {
        name for name, function in vars(found).items() if function is not getattr(operations.ON_CPU, name)
    }
    assert differing == expected
