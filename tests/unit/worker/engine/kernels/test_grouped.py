"""Low-rank updates by grouped products against their plain twins; the call is the one that a GPU gets."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.fixtures.engine.gpu_kernels import COLUMNS, UNCOMPILED, K, share
from tests.fixtures.engine.twins import DTYPES, TOLERANCE, relative_difference
from worker.engine.kernels import elementwise, grouped, projection
from worker.engine.kernels.frozen_weight import DenseWeight

pytestmark = pytest.mark.family(12)

ADAPTERS: dict[str, list[tuple[slice, dict[int, int]]]] = {
    "one": [(slice(0, 50), {0: 4, 1: 4, 2: 4})],
    "one on a part of the tokens": [(slice(10, 30), {0: 4})],
    "mixed ranks": [
        (slice(0, 20), {0: 4, 1: 4, 2: 4}),
        (slice(20, 21), {0: 16, 1: 16, 2: 16}),
        (slice(21, 50), {0: 9, 1: 1, 2: 3}),
    ],
    "some without a projection": [(slice(0, 20), {0: 8, 2: 8}), (slice(20, 50), {1: 8})],
    "no adapter at first, between and last the group": [(slice(5, 20), {0: 8}), (slice(30, 40), {0: 2})],
    "one whose tokens are all elsewhere": [(slice(0, 0), {0: 8}), (slice(0, 50), {0: 2})],
    "none": [],
}
WAYS = {
    "": (grouped.project, projection.project_plainly, K, COLUMNS),
    "of SwiGLU": (
        UNCOMPILED.project_swiglu,
        lambda x, W, shares: projection.project_plainly(elementwise.swiglu_plainly(x), W, shares),
        2 * K,
        COLUMNS,
    ),
    "of odd widths": (
        grouped.project, projection.project_plainly, K, (slice(0, 31), slice(31, 45), slice(45, 50))
    ),
}  # fmt: skip


@DTYPES
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("adapters", ADAPTERS.values(), ids=ADAPTERS)
def test_projection_with_grouped_products(adapters: list, way: tuple, dtype: torch.dtype) -> None:
    fast, plain, width, columns = way
    outcomes = []
    for function in (fast, plain):
        torch.manual_seed(0)
        x = torch.randn(50, width).to(dtype).requires_grad_()
        W = DenseWeight(torch.randn(columns[-1].stop, K).to(dtype))
        shares = [share(rows, ranks, dtype, columns) for rows, ranks in adapters]
        y = function(x, W, shares)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(dtype))
        outcomes.append([y, x.grad, *(each.low_rank.parameters.gradient for each in shares)])
    for ours, theirs in zip(*outcomes, strict=True):
        assert relative_difference(ours, theirs) < TOLERANCE[dtype]


def test_one_adapter_alone_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(grouped, "Stack")
    x = torch.randn(50, K, requires_grad=True)
    shares = [share(slice(0, 50), {0: 4, 1: 4, 2: 4}, torch.float32, COLUMNS)]
    W = DenseWeight(torch.randn(64, K))
    y = UNCOMPILED.project(x, W, shares)
    y.sum().backward()
    assert relative_difference(y, projection.project_plainly(x, W, shares)) < 1e-5


def test_a_product_for_which_the_gpu_needs_longer_than_the_host_is_not_grouped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(grouped, "Stack")
    shares = [
        share(slice(25 * i, 25 * i + 25), {0: 4}, torch.float32, [slice(0, 64)], "meta") for i in (0, 1)
    ]
    x = torch.empty(50, K, device="meta")

    def project(outputs: int) -> Tensor:
        return UNCOMPILED.project(x, DenseWeight(torch.empty(outputs, K, device="meta")), shares)

    with pytest.raises(NameError):
        project(64)
    assert project(20 * 10**6).shape == (50, 20 * 10**6)


def test_products_do_not_grow_in_number_with_the_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """For P projections of one input: 1 + P forward; for dz, dA, dB and dx P + 1 + P + 1 back."""
    called: list[torch.dtype] = []
    grouped_mm = F.grouped_mm

    def counted(x: Tensor, *args: Any, **options: Any) -> Tensor:
        called.append(x.dtype)
        return grouped_mm(x, *args, **options)

    monkeypatch.setattr(F, "grouped_mm", counted)
    x = torch.randn(50, K, dtype=torch.bfloat16, requires_grad=True)
    shares = [
        share(slice(5 * i, 5 * i + 5), {0: i + 1, 1: i + 1, 2: i + 1}, torch.bfloat16, COLUMNS)
        for i in range(10)
    ]
    W = DenseWeight(torch.randn(64, K, dtype=torch.bfloat16))
    grouped.project(x, W, shares).sum().backward()
    assert called == [torch.bfloat16] * (4 + 8)


@DTYPES
@pytest.mark.parametrize("view", [False, True], ids=["own output", "output that is a view"])
def test_low_rank_update_with_grouped_products(view: bool, dtype: torch.dtype) -> None:
    outcomes = []
    for function in (grouped.add_low_rank, projection.add_low_rank_plainly):
        torch.manual_seed(0)
        x = torch.randn(1, 50, K).to(dtype).requires_grad_()
        y = torch.randn(1, 25, 32).to(dtype).requires_grad_()
        base = y.view(1, 50, 16) if view else y.reshape(1, 50, 16) * 1
        shares = [
            share(rows, {0: rank}, dtype, [slice(0, 16)])
            for rows, rank in ((slice(9, 30), 4), (slice(30, 50), 9))
        ]
        twin = function is projection.add_low_rank_plainly
        out = function(base[0], x[0], shares) if twin else function(base, x, shares)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(dtype))
        outcomes.append([out, x.grad, y.grad, *(each.low_rank.parameters.gradient for each in shares)])
    for ours, theirs in zip(*outcomes, strict=True):
        assert relative_difference(ours.view(theirs.shape), theirs) < TOLERANCE[dtype]
