"""Low-rank updates of many adapters at once, by grouped products instead of a loop over the adapters.

    y[tokens of a] += s (x[tokens of a] Aᵀ) Bᵀ      for every adapter a (Hu et al. 2021, arXiv:2106.09685)

The adapters' spans of tokens are the groups of a product. All A are copied into one tensor and all B into
another, with ranks padded by zeros to one width. So a projection takes one product with every A and one with
every B, and its backward pass two of each, for any number of adapters. A span of tokens without an adapter is
a group whose factors are zeros. The copies hold for one micro-batch.

Axes besides those of the engine: C groups of tokens; M ranks of all projections of one input, R for each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.device.transfer import on_device
from worker.engine.kernels.frozen_weight import FrozenWeight, product
from worker.engine.kernels.projection import LowRank, ProjectionFactors, Share

ALIGNED = 8  # numbers in bf16; the grouped kernel needs rows that begin at multiples of 16 bytes
HAVE_KERNEL = {9, 10}  # major compute capabilities; on other GPUs PyTorch loops, and waits for the GPU

Values = Callable[[Tensor], Tensor]
Group = tuple[int, LowRank | None]
"""The end of a span of the axis, and the factors of its adapter, or None if it has no adapter."""


def has_kernel(device: torch.device) -> bool:
    """Return whether PyTorch has a kernel of grouped products for this GPU."""
    return torch.cuda.get_device_capability(device)[0] in HAVE_KERNEL


def project(x_TK: Tensor, W: FrozenWeight, shares: Sequence[Share]) -> Tensor:
    """Return the projection with its updates. Its plain twin is `projection.project_plainly`."""
    return add_low_rank(product(x_TK, W), x_TK, shares)


def project_values(values: Values, kept_TI: Tensor, W: FrozenWeight, shares: Sequence[Share]) -> Tensor:
    """Return `project(values(kept_TI), W, shares)`.

    Only `kept_TI` is kept for the backward pass, which computes the values again.
    """
    x_TK = values(kept_TI)
    return _add(product(x_TK, W), x_TK, kept_TI, values, shares)


def add_low_rank(y: Tensor, x: Tensor, shares: Sequence[Share]) -> Tensor:
    """Return y plus each adapter's update of its tokens; may change y.

    Computes the same as `lora_layers.add_low_rank`.
    """
    return _add(y, x, x, _as_it_is, shares)


def _add(y: Tensor, x: Tensor, kept: Tensor, values: Values, shares: Sequence[Share]) -> Tensor:
    tokens = x.numel() // x.shape[-1]
    present = [share for share in shares if range(tokens)[share.tokens]]
    if not present:
        return y
    masters = (share.low_rank.parameters.master for share in present)
    return _AddLowRank.apply(y, x, kept.detach(), values, present, *masters)


@dataclass(frozen=True)
class Groups:
    """Spans of tokens that cover the axis from its start, given by their ends; no span is empty."""

    ends: tuple[int, ...]

    def products(self, x_TK: Tensor, W_CKN: Tensor) -> Tensor:
        """Return x W, [T, N], where each span has a W of its own."""
        if len(self.ends) == 1:
            return x_TK @ W_CKN[0]
        if not _suit_the_kernel(x_TK, W_CKN):
            return torch.cat([x_TK[span] @ W_KN for span, W_KN in zip(self._spans, W_CKN, strict=True)])
        return F.grouped_mm(x_TK, W_CKN, offs=_offsets(self.ends, x_TK.device))

    def outer_products(self, x_TM: Tensor, y_TN: Tensor) -> Tensor:
        """Return xᵀ y of each span: [C, M, N]."""
        if len(self.ends) == 1:
            return (x_TM.T @ y_TN)[None]
        if not _suit_the_kernel(x_TM, y_TN):
            return torch.stack([x_TM[span].T @ y_TN[span] for span in self._spans])
        return F.grouped_mm(x_TM.T, y_TN, offs=_offsets(self.ends, x_TM.device))

    @property
    def _spans(self) -> Iterator[slice]:
        return map(slice, (0, *self.ends), self.ends)


@dataclass(frozen=True)
class Update:
    """One adapter's update of one projection: the group of its tokens, the projection, and the factors."""

    group: int
    projection: int
    low_rank: LowRank
    factors: ProjectionFactors
    B_NR: Tensor
    dB_NR: Tensor

    @property
    def rank(self) -> int:
        return self.B_NR.shape[1]


class Stack:
    """The factors of all adapters on the projections of one input.

    A_CMK holds every A; the ranks of one projection lie below those of the one before. Bs_CRN holds one
    tensor for each projection: every adapter's scale · B.
    """

    def __init__(self, shares: Sequence[Share], tokens: int) -> None:
        groups = list(_groups(shares, tokens))
        self.groups = Groups(tuple(end for end, _ in groups))
        projections = [factors for _, low_rank in groups if low_rank for factors in low_rank.projections]
        bounds = sorted({(each.columns.start, each.columns.stop) for each in projections})
        self.columns = [slice(*each) for each in bounds]
        self.rank = -(-max(each.ranks.stop - each.ranks.start for each in projections) // ALIGNED) * ALIGNED
        self.updates = [
            Update(group, self.columns.index(factors.columns), low_rank, factors, B_NR, dB_NR)
            for group, (_, low_rank) in enumerate(groups)
            if low_rank
            for factors, B_NR, dB_NR in zip(
                low_rank.projections, low_rank.Bs_NR, low_rank.dBs_NR, strict=True
            )
        ]
        self.A_CMK, self.Bs_CRN = self._stack_a(), self._stack_b()

    def ranks(self, projection: int) -> slice:
        """Return the part of the axis M that belongs to a projection."""
        return slice(projection * self.rank, (projection + 1) * self.rank)

    def _stack_a(self) -> Tensor:
        found = {(u.group, u.projection): u.low_rank.A_RK[u.factors.ranks] for u in self.updates}
        some_RK = next(iter(found.values()))
        zeros_RK = some_RK.new_zeros(self.rank, some_RK.shape[1])
        rows = []
        for pair in self._pairs():
            A_RK = found.get(pair, zeros_RK[:0])
            rows += [A_RK, zeros_RK[len(A_RK) :]]
        return torch.cat(rows).view(len(self.groups.ends), -1, some_RK.shape[1])

    def _stack_b(self) -> list[Tensor]:
        scaled = torch._foreach_mul([u.B_NR for u in self.updates], [u.factors.scale for u in self.updates])
        found = {(u.group, u.projection): B_NR for u, B_NR in zip(self.updates, scaled, strict=True)}
        zeros = {u.projection: u.B_NR.new_zeros(len(u.B_NR), self.rank) for u in self.updates}
        columns: dict[int, list[Tensor]] = {projection: [] for projection in sorted(zeros)}
        for group, projection in self._pairs():
            B_NR = found.get((group, projection), zeros[projection][:, :0])
            columns[projection] += [B_NR, zeros[projection][:, B_NR.shape[1] :]]
        # The tensor lies in memory as [N, C·R]; the result is a view of it, [C, R, N]
        return [
            torch.cat(each, 1).unflatten(1, (-1, self.rank)).permute(1, 2, 0) for each in columns.values()
        ]

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Yield every pair of a group and a projection."""
        for group in range(len(self.groups.ends)):
            for projection in range(len(self.columns)):
                yield group, projection

    def add_gradients(self, dA_CMK: Tensor, dBs_CNR: Sequence[Tensor]) -> None:
        """Add to the factors' gradients in pair, in fp32, without the padding."""
        dA_CMK, dBs_CNR = dA_CMK.float(), [dB_CNR.float() for dB_CNR in dBs_CNR]
        dAs = [dA_CMK[u.group, self.ranks(u.projection)][: u.rank] for u in self.updates]
        dBs = [dBs_CNR[u.projection][u.group, :, : u.rank] for u in self.updates]
        torch._foreach_mul_(dBs, [u.factors.scale for u in self.updates])
        torch._foreach_add_([u.low_rank.dA_RK[u.factors.ranks] for u in self.updates], dAs)
        torch._foreach_add_([u.dB_NR for u in self.updates], dBs)


class _AddLowRank(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`; it adds to their gradients itself.

    @staticmethod
    def forward(ctx, y, x, kept, values, shares, *_masters):  # type: ignore[no-untyped-def]
        out = y
        if y._is_view() or not y.is_contiguous():
            out = y.clone(memory_format=torch.contiguous_format)  # autograd forbids to change a view here
        else:
            ctx.mark_dirty(y)
        out_TN = out.view(-1, out.shape[-1])
        x_TK = _tokens_first(x, shares)
        stack = Stack(shares, len(x_TK))
        z_TM = stack.groups.products(x_TK, stack.A_CMK.transpose(1, 2))
        for projection, (columns, B_CRN) in enumerate(zip(stack.columns, stack.Bs_CRN, strict=True)):
            out_TN[:, columns] += stack.groups.products(z_TM[:, stack.ranks(projection)], B_CRN)
        ctx.values, ctx.shares, ctx.stack = values, shares, stack
        ctx.x_shape, ctx.x_dtype = x.shape, x.dtype
        ctx.save_for_backward(kept, z_TM)
        return out

    @staticmethod
    def backward(ctx, dout):  # type: ignore[no-untyped-def]
        (kept, z_TM), stack = ctx.saved_tensors, ctx.stack
        groups = stack.groups
        x_TK = _tokens_first(ctx.values(kept), ctx.shares)
        dy_TN = _tokens_first(dout, ctx.shares)
        dz_TM, dBs_CNR = torch.empty_like(z_TM), []
        for projection, (columns, B_CRN) in enumerate(zip(stack.columns, stack.Bs_CRN, strict=True)):
            ranks = stack.ranks(projection)
            dz_TM[:, ranks] = groups.products(dy_TN[:, columns], B_CRN.transpose(1, 2))
            dBs_CNR.append(groups.outer_products(dy_TN[:, columns], z_TM[:, ranks]))
        stack.add_gradients(groups.outer_products(dz_TM, x_TK), dBs_CNR)
        dx = None
        if ctx.needs_input_grad[1]:
            dx = groups.products(dz_TM, stack.A_CMK).to(ctx.x_dtype).view(ctx.x_shape)
        return dout, dx, None, None, None, *(None for _ in ctx.shares)


def _groups(shares: Sequence[Share], tokens: int) -> Iterator[Group]:
    """Yield the end and the factors of each span of the axis; a span has one adapter, or none."""
    reached = 0
    for (start, stop, _), low_rank in sorted(
        ((share.tokens.indices(tokens), share.low_rank) for share in shares), key=lambda group: group[0]
    ):
        if start > reached:
            yield start, None
        yield stop, low_rank
        reached = stop
    if reached < tokens:
        yield tokens, None


def _tokens_first(x: Tensor, shares: Sequence[Share]) -> Tensor:
    """Return x as the products need it, contiguous and in the factors' type: [..., K] -> [T, K]."""
    return x.reshape(-1, x.shape[-1]).to(shares[0].low_rank.A_RK.dtype).contiguous()


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _suit_the_kernel(*tensors: Tensor) -> bool:
    """Return whether the grouped kernel takes them: in bf16, every row of each at a multiple of 16 bytes."""
    if any(x.dtype != torch.bfloat16 for x in tensors):
        return False
    steps = (stride for x in tensors for stride in x.stride() if stride != 1)
    return all(n % ALIGNED == 0 for n in (*steps, *(x.storage_offset() for x in tensors)))


@lru_cache(maxsize=8)
def _offsets(ends: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the ends on the device. They are copied once for all projections of a micro-batch."""
    return on_device(torch.tensor(ends, dtype=torch.int32), device)
