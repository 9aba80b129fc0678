"""Experts with low-rank updates equal their plain twin, however tokens are spread over experts and jobs."""

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from core.estimates.workspace import EXPERT_TOKENS
from tests.fixtures.engine.twins import DTYPES, TOLERANCE, relative_difference
from worker.engine.kernels.elementwise import LeftToAutograd, SwiGlu, swiglu_plainly
from worker.engine.kernels.experts.grouped import compute_in_groups
from worker.engine.kernels.experts.layer import (
    DenseExperts,
    ExpertUpdate,
    Layer,
    Projection,
    compute_experts,
    compute_plainly,
)
from worker.engine.kernels.projection import Values

T, D, I, E = 13, 24, 16, 5  # noqa: E741 - axes
JOBS = {"one": (slice(0, 6), 3), "other": (slice(6, 11), 2)}  # the last tokens belong to no job


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / shape[-1] ** 0.5


def clamped(h: Tensor) -> Tensor:
    """Return what gpt-oss makes of interleaved values."""
    gate, up = h[..., ::2].clamp(max=1.0), h[..., 1::2].clamp(-1.0, 1.0)
    return (up + 1) * gate * torch.sigmoid(1.7 * gate)


def squared(h: Tensor) -> Tensor:
    return F.relu(h).square()


GATE, CLAMP, SQUARED = LeftToAutograd(swiglu_plainly), LeftToAutograd(clamped), LeftToAutograd(squared)


def layer_of(gate: Values, transposed: bool, dtype: torch.dtype) -> Layer:
    """Return a layer with the updates of two jobs on both projections, of another rank each."""
    wide = I if gate == SQUARED else 2 * I
    projections = []
    for seed, (outputs, inputs) in enumerate([(wide, D), (D, I)]):
        W = random(E, outputs, inputs, seed=seed)
        weights = W.transpose(1, 2).contiguous() if transposed else W
        bias = random(E, outputs, seed=seed + 5).to(dtype) if transposed else None
        updates = [
            ExpertUpdate(
                tokens,
                random(E, rank, inputs, seed=seed + 10 + rank).to(dtype),
                random(outputs, rank, E, seed=seed + 20 + rank).to(dtype),
                scale=1.5,
                dA_ERK=torch.zeros(E, rank, inputs),
                dB_NRE=torch.zeros(outputs, rank, E),
            )
            for tokens, rank in JOBS.values()
        ]
        projections.append(Projection(DenseExperts(weights.to(dtype), bias, transposed), updates))
    return Layer(*projections, gate)


ROUTES: Mapping[str, Tensor] = {
    "at random": torch.rand(T, E, generator=torch.Generator().manual_seed(3)).topk(2).indices,
    "one expert unused": torch.rand(T, E - 1, generator=torch.Generator().manual_seed(4)).topk(2).indices,
    "all on one": torch.full((T, 1), 2),
}


@pytest.fixture
def lanes(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many threads, whatever the machine has: each lane takes one."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@DTYPES
@pytest.mark.parametrize(
    ("compute", "lanes"),
    [(compute_experts, 1), (compute_experts, 2), (compute_in_groups, 1)],
    ids=["one lane", "two lanes", "in groups"],
    indirect=["lanes"],
)
@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("gate", "plain", "transposed"),
    [(SwiGlu(), GATE, False), (CLAMP, CLAMP, True), (SQUARED, SQUARED, False)],
    ids=["gate", "clamp", "relu²"],
)
def test_outputs_and_all_gradients_are_those_of_the_plain_twin(
    gate: Values,
    plain: Values,
    transposed: bool,
    route: str,
    compute: Callable[..., Tensor],
    dtype: torch.dtype,
) -> None:
    layer, index_TC = layer_of(gate, transposed, dtype), ROUTES[route]
    inputs = random(T, D, seed=7), torch.rand(index_TC.shape, generator=torch.Generator().manual_seed(8))
    dout_TD = random(T, D, seed=9)
    x, w = (each.to(dtype).requires_grad_() for each in inputs)
    out_TD = compute(x, index_TC, w, layer)
    out_TD.backward(dout_TD.to(dtype))
    exact = layer_of(plain, transposed, torch.float32)
    factors = [each for p in (exact.up, exact.down) for u in p.updates for each in (u.A_ERK, u.B_NRE)]
    x_exact, w_exact, *_ = leaves = [each.clone().requires_grad_() for each in inputs] + factors
    for factor in factors:
        factor.requires_grad_()
    expected_TD = compute_plainly(x_exact, index_TC, w_exact, exact)
    expected = torch.autograd.grad(expected_TD, leaves, dout_TD)
    found = [each for p in (layer.up, layer.down) for u in p.updates for each in (u.dA_ERK, u.dB_NRE)]
    assert relative_difference(out_TD, expected_TD) < TOLERANCE[dtype]
    for ours, theirs in zip([x.grad, w.grad, *found], expected, strict=True):
        assert ours is not None
        assert relative_difference(ours, theirs) < TOLERANCE[dtype]


def test_an_expert_without_tokens_is_not_touched_and_has_no_gradient() -> None:
    layer = layer_of(SwiGlu(), False, torch.float32)
    poisoned = layer.up.weights.weights[E - 1].fill_(torch.nan)  # type: ignore[attr-defined]
    x_TD = random(T, D, seed=7).requires_grad_()
    compute_experts(x_TD, ROUTES["one expert unused"], torch.ones(T, 2), layer).sum().backward()
    assert poisoned.isnan().all()
    assert x_TD.grad is not None
    assert x_TD.grad.isfinite().all()
    for update in (*layer.up.updates, *layer.down.updates):
        assert update.dA_ERK is not None
        assert update.dB_NRE is not None
        assert update.dA_ERK[:-1].any()
        assert not update.dA_ERK[-1].any()
        assert not update.dB_NRE[..., -1].any()


def test_a_row_of_one_token_is_computed_as_beside_others() -> None:
    layer, index_TC = layer_of(SwiGlu(), False, torch.float32), ROUTES["at random"]
    x_TD, w_TC = random(T, D, seed=7), torch.ones(T, 2)
    together = compute_experts(x_TD, index_TC, w_TC, layer)
    alone = compute_experts(x_TD[:1], index_TC[:1], w_TC[:1], layer)
    assert relative_difference(alone, together[:1]) < 1e-6


def test_no_weight_of_all_experts_is_made_and_no_input_is_kept_for_each_choice() -> None:
    """What is kept are x, the outputs of `up`, and the routes with their weights."""
    layer, index_TC = layer_of(SwiGlu(), False, torch.float32), ROUTES["at random"]
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute_experts(random(T, D, seed=7).requires_grad_(), index_TC, torch.ones(T, 2), layer)
    assert sorted(tensor.numel() for tensor in kept) == [2 * T, 2 * T, T * D, 2 * T * 2 * I]


def test_more_tokens_than_are_gathered_at_once_are_computed_alike() -> None:
    layer, tokens = layer_of(SwiGlu(), False, torch.float32), EXPERT_TOKENS + T
    x_TD, scores = (
        random(tokens, D, seed=7),
        torch.rand(tokens, E, generator=torch.Generator().manual_seed(3)),
    )
    weights_TC, index_TC = scores.topk(2)
    expected_TD = compute_experts(x_TD, index_TC, weights_TC, layer)
    assert relative_difference(compute_in_groups(x_TD, index_TC, weights_TC, layer), expected_TD) < 1e-6


def test_grouped_products_do_not_wait_for_the_routes() -> None:
    """On tensors without values, whatever asks for a value fails."""
    dtype = torch.bfloat16
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer, index_TC = layer_of(CLAMP, True, dtype), torch.empty(T, 2, dtype=torch.long)
        x_TD = torch.empty(T, D, dtype=dtype, requires_grad=True)
        compute_in_groups(x_TD, index_TC, torch.ones(T, 2, dtype=dtype), layer).sum().backward()
    assert x_TD.grad is not None
