"""A layer of frozen experts with the low-rank updates of all jobs, as one autograd function.

    out = Σ w · down(gate(up(x)))   over the experts that a token is sent to, with the router's weights w
    up(x) = x Wᵀ + b + s (x Aᵀ) Bᵀ  with a W, b, A and B for each expert; and so down

The pairs of a token and one of its experts are sorted by expert, and then by token. A job's tokens are
contiguous on the axis, so its pairs are contiguous for each expert too. An expert takes one product with its
frozen weight, and two with the factors of each job. An expert without a token is not touched. W + s B A is
never formed, and there is no padding and no limit of tokens for an expert. On a CPU each lane takes its own
experts.

Only x, the routes and the outputs of `up` are kept for the backward pass. It gathers each expert's inputs
again, since all of them together are as many times larger than x as a token has experts.

Axes besides those of the engine: E experts here, C choices of a token, P pairs, or the pairs of one expert.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from worker.engine.batch.lanes import Lanes, lanes_for
from worker.engine.device.transfer import on_device
from worker.engine.kernels.projection import Share, Values


class ExpertWeights(Protocol):
    """The frozen weights of all experts in one projection, with their biases [E, N] if they have any."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of experts, of outputs and of inputs: E, N, K."""

    @property
    def bias_EN(self) -> Tensor | None: ...  # noqa: N802 - axes

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        """Return the weight of one expert, [N, K]."""


@dataclass(frozen=True)
class DenseExperts:
    """Weights that are in memory as a whole, as transformers holds them: [E, K, N] if they are transposed."""

    weights: Tensor
    bias_EN: Tensor | None = None
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        experts, outputs, inputs = (
            self.weights.transpose(1, 2).shape if self.transposed else self.weights.shape
        )
        return experts, outputs, inputs

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        weight = self.weights[expert].T if self.transposed else self.weights[expert]
        return weight.to(dtype)


@dataclass(frozen=True)
class ExpertUpdate:
    """An adapter's factors on one projection of all experts, and its tokens. Gradients are added in place.

    PEFT holds A as [E·R, K], with the ranks of one expert side by side, and B as [N, R·E], where the expert
    changes fastest.
    """

    tokens: slice
    A_ERK: Tensor
    B_NRE: Tensor
    scale: float
    dA_ERK: Tensor | None = None
    dB_NRE: Tensor | None = None

    @classmethod
    def of(cls, share: Share, experts: int) -> "ExpertUpdate":
        low_rank = share.low_rank
        As = (each.unflatten(0, (experts, -1)) for each in (low_rank.A_RK, low_rank.dA_RK))
        Bs = (each.unflatten(1, (-1, experts)) for each in (low_rank.Bs_NR[0], low_rank.dBs_NR[0]))
        (A, dA), (B, dB) = As, Bs
        return cls(share.tokens, A, B, low_rank.projections[0].scale, dA, dB)

    @classmethod
    def frozen(cls, A: Tensor, B: Tensor, experts: int, scale: float) -> "ExpertUpdate":
        """Return an update of all tokens that is not trained; B is laid out expert by expert."""
        B_ERN = B.unflatten(1, (-1, experts)).permute(2, 1, 0).contiguous()
        return cls(slice(None), A.unflatten(0, (experts, -1)), B_ERN.permute(2, 1, 0), scale)

    @property
    def nbytes(self) -> int:
        """The memory that the factors take."""
        return self.A_ERK.nbytes + self.B_NRE.nbytes


@dataclass(frozen=True)
class Projection:
    """One projection of a layer of experts: the frozen weights, and the updates of all adapters."""

    weights: ExpertWeights
    updates: Sequence[ExpertUpdate] = ()


@dataclass(frozen=True)
class Layer:
    """A layer of experts. `gate` makes the inputs of `down` from the outputs of `up`, which may hold two."""

    up: Projection
    down: Projection
    gate: Values


def compute_experts(
    x_TD: Tensor, index_TC: Tensor, weights_TC: Tensor, layer: Layer, masters: Sequence[Tensor] = ()
) -> Tensor:
    """Return the sum of each token's experts, [T, D].

    `index_TC` are the experts of each token, and `weights_TC` the router's weights. `masters` are the values
    that the factors follow from: autograd calls the backward pass if one of them needs a gradient.
    """
    out_TD: Tensor = _Experts.apply(x_TD, weights_TC, index_TC, layer, *masters)
    return out_TD


def compute_plainly(x_TD: Tensor, index_TC: Tensor, weights_TC: Tensor, layer: Layer) -> Tensor:
    """Return the same as `compute_experts`, pair by pair; the gradients of x and of w are autograd's."""
    rows = []
    for token, (experts, weights) in enumerate(zip(index_TC.tolist(), weights_TC, strict=True)):
        row = torch.zeros_like(x_TD[token])
        for expert, weight in zip(experts, weights, strict=True):
            h = _project_plainly(layer.up, expert, x_TD[token], token)
            row = row + weight * _project_plainly(layer.down, expert, layer.gate.of(h[None])[0], token)
        rows.append(row)
    return torch.stack(rows)


def _project_plainly(projection: Projection, expert: int, x_K: Tensor, token: int) -> Tensor:
    y_N = projection.weights.of(expert, x_K.dtype) @ x_K
    if projection.weights.bias_EN is not None:
        y_N = y_N + projection.weights.bias_EN[expert]
    for update in projection.updates:
        if token in range(*update.tokens.indices(token + 1)):
            y_N = y_N + update.scale * (update.B_NRE[:, :, expert] @ (update.A_ERK[expert] @ x_K))
    return y_N


@dataclass(frozen=True)
class _Span:
    """The pairs of one expert. `up` and `down` have the spans within them that belong to each update."""

    expert: int
    pairs: slice
    tokens_P: Tensor
    up: Sequence[slice]
    down: Sequence[slice]


class _Routes:
    """The pairs of a micro-batch, sorted by expert and then by token."""

    def __init__(self, index_TC: Tensor, layer: Layer) -> None:
        tokens, choices = index_TC.shape
        experts_P = index_TC.flatten()
        self.order_P = experts_P.argsort(stable=True)
        self.tokens_P = self.order_P // choices
        ups, downs = layer.up.updates, layer.down.updates
        edges = [0, tokens]
        for update in (*ups, *downs):
            edges += update.tokens.indices(tokens)[:2]
        keys_P = experts_P[self.order_P] * tokens + self.tokens_P
        bounds = bounds_of(keys_P, layer.up.weights.shape[0], tokens, edges)
        self._ups = len(ups)
        self._used = [(expert, row) for expert, row in enumerate(bounds) if row[0] < row[1]]

    def divided(self, lanes: int) -> list[list[_Span]]:
        """Return the experts of each lane: about as many pairs."""
        parts: list[list[_Span]] = [[] for _ in range(lanes)]
        for span in self:
            middle = (span.pairs.start + span.pairs.stop) / 2
            parts[int(middle / len(self.order_P) * lanes)].append(span)
        return parts

    def __iter__(self) -> Iterator[_Span]:
        for expert, (start, stop, *edges) in self._used:
            jobs = [slice(a - start, b - start) for a, b in zip(edges[::2], edges[1::2], strict=True)]
            pairs = slice(start, stop)
            up, down = jobs[: self._ups], jobs[self._ups :]
            yield _Span(expert, pairs, self.tokens_P[pairs], up, down)


def bounds_of(keys_P: Tensor, experts: int, tokens: int, edges: Sequence[int]) -> list[list[int]]:
    """Return for each expert which of the sorted pairs is the first at or behind each edge of the token axis.

    The key of a pair is expert · tokens + token.
    """
    firsts_E1 = torch.arange(experts, device=keys_P.device)[:, None] * tokens
    bounds: list[list[int]] = torch.searchsorted(
        keys_P, firsts_E1 + on_device(torch.tensor(edges), keys_P.device)
    ).tolist()
    return bounds


@cache
def _lanes(count: int, threads: int) -> Lanes:
    del threads  # those that the lanes share
    return Lanes(count)


def lanes_on(device: torch.device) -> Lanes:
    """Return the lanes that share the calling thread's threads."""
    return _lanes(lanes_for(device), torch.get_num_threads())


class _Factors:
    """The factors of one projection, expert by expert. So is the gradient of B, until `add_gradients`."""

    def __init__(self, projection: Projection, with_gradients: bool = False) -> None:
        self.weights, self.updates = projection.weights, projection.updates
        self._Bs = [by_expert(each.B_NRE) for each in self.updates]
        self._dBs = [torch.zeros_like(B_ERN) for B_ERN in self._Bs] if with_gradients else []

    def forward(
        self,
        span: _Span,
        spans: Sequence[slice],
        x_PK: Tensor,
        out_PN: Tensor | None = None,
        times_P1: Tensor | float = 1.0,
    ) -> Tensor:
        """Return the projection of one expert's inputs, in `out_PN` if given, with some times its bias."""
        y_PN = torch.mm(x_PK, self.weights.of(span.expert, x_PK.dtype).T, out=out_PN)
        if self.weights.bias_EN is not None:
            y_PN += self.weights.bias_EN[span.expert] * times_P1
        for rows, update, B_ERN in zip(spans, self.updates, self._Bs, strict=True):
            if rows.stop > rows.start:
                z_PR = x_PK[rows] @ update.A_ERK[span.expert].T
                y_PN[rows].addmm_(z_PR, B_ERN[span.expert], alpha=update.scale)
        return y_PN

    def backward(self, span: _Span, spans: Sequence[slice], dy_PN: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient of one expert's inputs, and that of x Aᵀ for each update."""
        dx_PK = dy_PN @ self.weights.of(span.expert, dy_PN.dtype)
        dzs = []
        for rows, update, B_ERN in zip(spans, self.updates, self._Bs, strict=True):
            dz_PR = (dy_PN[rows] @ B_ERN[span.expert].T).mul_(update.scale)
            dx_PK[rows].addmm_(dz_PR, update.A_ERK[span.expert])
            dzs.append(dz_PR)
        return dx_PK, dzs

    def collect(
        self, span: _Span, spans: Sequence[slice], x_PK: Tensor, dy_PN: Tensor, dzs: Sequence[Tensor]
    ) -> None:
        """Add one expert's part to the gradients of the factors."""
        for rows, update, dz_PR, dB_ERN in zip(spans, self.updates, dzs, self._dBs, strict=True):
            if rows.stop > rows.start and update.dA_ERK is not None:
                z_PR = x_PK[rows] @ update.A_ERK[span.expert].T
                dB_ERN[span.expert].addmm_(z_PR.T, dy_PN[rows], alpha=update.scale)
                _add_product(update.dA_ERK[span.expert], dz_PR.T, x_PK[rows])

    def add_gradients(self) -> None:
        """Add what was collected to the gradients of B."""
        for update, dB_ERN in zip(self.updates, self._dBs, strict=True):
            if (dB_NRE := update.dB_NRE) is not None:
                dB_NK = dB_ERN.transpose(0, 1).flatten(0, 1).T  # K are ranks and experts
                dB_NRE.view(dB_NK.shape).add_(dB_NK.contiguous())


def by_expert(B_NRE: Tensor) -> Tensor:
    """Return B as [E, R, N] with rows in one piece: a copy, unless it lies in memory like this."""
    B_ERN = B_NRE.permute(2, 1, 0)
    if B_ERN.stride(2) == 1:
        return B_ERN
    return B_NRE.flatten(1).T.contiguous().unflatten(0, B_NRE.shape[1:]).transpose(0, 1)


def _add_product(to_RK: Tensor, left_RP: Tensor, right_PK: Tensor) -> None:
    """Add a product to what may be in fp32 beside factors in bf16."""
    if to_RK.dtype == right_PK.dtype:
        to_RK.addmm_(left_RP, right_PK)
    else:
        to_RK.add_(left_RP @ right_PK)


def _sum_over_lanes(compute: Callable[[Iterable[_Span]], Tensor], routes: _Routes) -> Tensor:
    """Return the sum of what `compute` returns for each lane's experts.

    No two lanes have the same expert, so they share the gradients of the factors. Several products on a
    thread each are faster than one after another on all threads, between which the threads wait.
    """

    # The mode of the calling thread does not hold on those of the lanes
    without_gradient = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad

    def of_lane(_lane: int, spans: Sequence[_Span]) -> Tensor:
        with without_gradient():
            return compute(spans)

    lanes = lanes_on(routes.tokens_P.device)
    first, *others = lanes.map(of_lane, routes.divided(lanes.count))
    for each in others:
        first += each
    return first


class _Experts(torch.autograd.Function):
    # The masters are inputs only so that autograd calls `backward`, which adds to their gradients itself. The
    # frozen weights are not among the saved tensors, because no hook for saved activations may see them. The
    # routes are: if the layer is computed again, they must be those of the values that are computed again.

    @staticmethod
    def forward(ctx, x_TD, weights_TC, index_TC, layer, *_masters):  # type: ignore[no-untyped-def]
        routes = _Routes(index_TC, layer)
        up, down = _Factors(layer.up), _Factors(layer.down)
        weights_P = weights_TC.flatten()[routes.order_P].float()
        h_PN = x_TD.new_empty(len(weights_P), layer.up.weights.shape[1])

        def compute(spans: Iterable[_Span]) -> Tensor:
            out_TD = x_TD.new_zeros(len(x_TD), layer.down.weights.shape[1], dtype=torch.float32)
            for span in spans:
                w_P1, x_PD = weights_P[span.pairs, None], x_TD.index_select(0, span.tokens_P)
                a_PI = layer.gate.of(up.forward(span, span.up, x_PD, h_PN[span.pairs])).mul_(w_P1)
                y_PD = down.forward(span, span.down, a_PI, times_P1=w_P1)
                out_TD.index_add_(0, span.tokens_P, y_PD.float())
            return out_TD

        out_TD = _sum_over_lanes(compute, routes)
        ctx.layer, ctx.dtype = layer, weights_TC.dtype
        ctx.save_for_backward(x_TD, index_TC, h_PN, weights_P)
        return out_TD.to(x_TD.dtype)

    @staticmethod
    def backward(ctx, dout_TD):  # type: ignore[no-untyped-def]
        x_TD, index_TC, h_PN, weights_P = ctx.saved_tensors
        layer, routes = ctx.layer, _Routes(index_TC, ctx.layer)
        bias_ED = layer.down.weights.bias_EN
        up, down = (_Factors(each, with_gradients=True) for each in (layer.up, layer.down))
        dweights_P = torch.zeros_like(weights_P)

        def compute(spans: Iterable[_Span]) -> Tensor:
            dx_TD = torch.zeros_like(x_TD, dtype=torch.float32)
            for span in spans:
                pairs, w_P1 = span.pairs, weights_P[span.pairs, None]
                dout_PD = dout_TD.index_select(0, span.tokens_P)
                g_PI, dzs = down.backward(span, span.down, dout_PD)  # the gradient of down's input
                a_PI, dh_PN = layer.gate.again((g_PI * w_P1).to(g_PI.dtype), h_PN[pairs])
                dweights_P[pairs] = (g_PI * a_PI).sum(-1, dtype=torch.float32)
                if bias_ED is not None:
                    dweights_P[pairs] += (dout_PD @ bias_ED[span.expert]).float()
                down.collect(span, span.down, a_PI.mul_(w_P1), dout_PD, dzs)
                dx_PD, dzs = up.backward(span, span.up, dh_PN)
                up.collect(span, span.up, x_TD.index_select(0, span.tokens_P), dh_PN, dzs)
                dx_TD.index_add_(0, span.tokens_P, dx_PD.float())
            return dx_TD

        dx_TD = _sum_over_lanes(compute, routes)
        up.add_gradients()
        down.add_gradients()
        dweights = torch.empty_like(dweights_P).scatter_(0, routes.order_P, dweights_P)
        masters = (None for _ in range(len(ctx.needs_input_grad) - 4))
        return dx_TD.to(x_TD.dtype), dweights.view(index_TC.shape).to(ctx.dtype), None, None, *masters
