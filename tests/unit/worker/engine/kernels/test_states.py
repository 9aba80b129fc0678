"""States and convolutions go through segments as they go through each row by itself."""

from collections.abc import Callable, Sequence
from threading import Thread

import pytest
import torch
from torch import Tensor, nn
from transformers.models.nemotron_h import modeling_nemotron_h
from transformers.models.qwen3_5 import modeling_qwen3_5

from tests.fixtures.engine.twins import assert_twins_agree, relative_difference
from worker.engine.batch.chunks import CHUNK, WAVE, Chunks
from worker.engine.batch.micro_batch import Segment
from worker.engine.decoders.portable import row_axes
from worker.engine.kernels.states.in_transformers import follow_segments
from worker.engine.kernels.states.scan import Rule, scan, scan_plainly
from worker.engine.kernels.transformers_attention import SegmentLayout, attending_in

CPU = torch.device("cpu")
DELTA = Rule(delta=True, normed=True, scale=0.5)
MAMBA2 = Rule(delta=False)
J, H = 2, 6  # heads of queries and keys, heads of values
SIZES = {"by PyTorch": (8, 12), "in C": (16, 32)}  # of a key and a value: C takes multiples of 16
each_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def forest(*lengths: tuple[int, ...]) -> list[Segment]:
    """Return segments of these lengths, each behind as many segments before it as its number says.

    (5, 0) is a row's first segment with five tokens, and (7, 2) has the two segments of the last chain before
    it.
    """
    segments: list[Segment] = []
    chain: list[tuple[int, int]] = []
    end = 0
    for length, depth in lengths:
        segments.append(Segment(end, end + length, tuple(chain[:depth])))
        chain = [*chain[:depth], (end, end + length)]
        end += length
    return segments


FORESTS = {
    "rows of many lengths": forest(*((length, 0) for length in (1, 3, 63, 64, 65, 130))),
    "beginnings in beginnings": forest(
        *((70, 0), (2, 1), (1, 2), (1, 3), (66, 3), (3, 1), (64, 1), (5, 2), (130, 0), (1, 1), (9, 1))
    ),
    "more rows than a wave has chunks": forest((20, 0), *[(65, 1)] * (WAVE + 3), (5, 0)),
    "a row of several waves": forest((CHUNK * (WAVE + 2) + 7, 0), (10, 1), (3, 0)),
}
each_forest = pytest.mark.parametrize("segments", FORESTS.values(), ids=FORESTS)


def layout_of(segments: Sequence[Segment]) -> SegmentLayout:
    positions = [torch.arange(segment.length) + segment.prefix_length for segment in segments]
    return SegmentLayout(segments, torch.cat(positions))


def inputs_of(tokens: int, sizes: tuple[int, int] = SIZES["in C"]) -> list[Tensor]:
    """Return q, k, v, g and beta. A state keeps a third of itself over ten tokens."""
    random = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, tokens, J, sizes[0], generator=random)
    v = torch.randn(tokens, H, sizes[1], generator=random)
    g, beta = torch.rand(2, tokens, H, generator=random)
    return [q, k, v, -0.2 * g, beta]


@pytest.mark.family(6)
@each_forest
@each_size
@pytest.mark.parametrize("rule", [DELTA, MAMBA2], ids=["delta", "mamba 2"])
def test_a_scan_in_chunks_is_the_recurrence_token_by_token(
    segments: list[Segment], sizes: tuple[int, int], rule: Rule
) -> None:
    chunks = Chunks.of(segments, CPU)
    assert_twins_agree(
        torch.float32,
        lambda *inputs: scan(inputs, chunks, rule),
        lambda *inputs: scan_plainly(inputs, segments, rule)[0],
        *inputs_of(segments[-1].end, sizes),
    )


@each_size
def test_the_gradient_of_a_scan_is_that_of_finite_differences(sizes: tuple[int, int]) -> None:
    """A step of 1e-2 along random directions, in fp32: the difference is exact to the step's square."""
    segments = forest((5, 0), (3, 1), (66, 0))
    chunks, inputs = Chunks.of(segments, CPU), inputs_of(segments[-1].end, sizes)
    directions = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in inputs]

    def at(step: float) -> Tensor:
        return scan([x + step * d for x, d in zip(inputs, directions, strict=True)], chunks, DELTA).sum()

    leaves = [x.requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(scan(leaves, chunks, DELTA).sum(), leaves)
    slope = sum((gradient * d).sum() for gradient, d in zip(gradients, directions, strict=True))
    assert float(slope) == pytest.approx(float((at(1e-2) - at(-1e-2)) / 2e-2), rel=1e-2)


class Mixer(nn.Module):
    """A module of transformers' Python module, so that its functions are those that follow segments."""


def row_by_row(function: Callable[..., Tensor], segments: Sequence[Segment]) -> Callable[..., Tensor]:
    """Return a function of whole rows; a token that several rows share gets the mean of its outputs."""

    def compute(*inputs: Tensor) -> Tensor:
        axes = [axis_L for _, axis_L in row_axes(segments, CPU)]
        rows = [function(*(x.index_select(1, axis_L) for x in inputs)) for axis_L in axes]
        axis_N, out_N = torch.cat(axes), torch.cat(rows, 1)
        times_T = axis_N.bincount().view(1, -1, *[1] * (out_N.dim() - 2))
        empty_T = out_N.new_zeros(1, times_T.shape[1], *out_N.shape[2:])
        return empty_T.index_add(1, axis_N, out_N) / times_T

    return compute


def on_segments(function: Callable[..., Tensor], segments: Sequence[Segment]) -> Callable[..., Tensor]:
    layout = layout_of(segments)

    def compute(*inputs: Tensor) -> Tensor:
        with attending_in(layout):
            return function(*inputs)

    return compute


def delta(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    rule = modeling_qwen3_5.torch_chunk_gated_delta_rule
    out: Tensor = rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True, cu_seqlens=None)[0]
    return out


def delta_by_tokens(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    rule = modeling_qwen3_5.torch_recurrent_gated_delta_rule
    out: Tensor = rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)[0]
    return out


def mamba2(C: Tensor, B: Tensor, x: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    heads = torch.arange(1.0, H + 1)
    options = {"dt_softplus": True, "dt_limit": (0.1, 2.0), "dt_bias": heads / 9, "D": heads, "z": None}
    scan = modeling_nemotron_h.mamba2_chunk_scan
    out: Tensor = scan(x, g + beta, -heads / 9, B, C, chunk_size=16, **options)
    return out


FUNCTIONS = {"delta rule": (delta, delta_by_tokens), "mamba 2": (mamba2, mamba2)}


@pytest.fixture(autouse=True)
def followed() -> None:
    for module in (modeling_qwen3_5, modeling_nemotron_h):
        follow_segments(type("OfIt", (Mixer,), {"__module__": module.__name__})())


@each_forest
@each_size
@pytest.mark.parametrize("name", FUNCTIONS)
def test_transformers_functions_follow_segments_as_they_compute_rows(
    name: str, sizes: tuple[int, int], segments: list[Segment]
) -> None:
    function, whole = FUNCTIONS[name]
    inputs = [x[None] for x in inputs_of(segments[-1].end, sizes)]
    assert_twins_agree(torch.float32, on_segments(function, segments), row_by_row(whole, segments), *inputs)


@each_forest
@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("channels", [7, 48], ids=["by PyTorch", "in C"])
def test_a_convolution_sees_the_tokens_before_it_in_its_own_row(
    segments: list[Segment], width: int, activation: str | None, channels: int
) -> None:
    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        function = modeling_qwen3_5.causal_conv1d_fn
        out: Tensor = function(x.transpose(1, 2), weight, bias, activation=activation).transpose(1, 2)
        return out

    random = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(channels, width, generator=random), torch.randn(channels, generator=random)
    assert_twins_agree(
        torch.float32,
        on_segments(lambda x: convolve(x, weight, bias), segments),
        row_by_row(lambda x: convolve(x, weight, bias), segments),
        torch.randn(1, segments[-1].end, channels, generator=random),
    )


def test_outside_of_a_layout_transformers_computes_also_while_another_thread_is_in_one() -> None:
    q, k, v, g, beta = (x[None] for x in inputs_of(20))
    follow_segments(type("Again", (Mixer,), {"__module__": modeling_qwen3_5.__name__})())
    own = modeling_qwen3_5.torch_chunk_gated_delta_rule.args[0]
    found: list[Tensor] = []
    with attending_in(layout_of(forest((10, 0), (10, 0)))):
        thread = Thread(target=lambda: found.append(delta(q, k, v, g, beta)))
        thread.start()
        thread.join()
        inside = delta(q, k, v, g, beta)
    expected = own(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)[0]
    assert torch.equal(found[0], expected)
    assert torch.equal(delta(q, k, v, g, beta), expected)
    assert relative_difference(inside, expected) > 0.01


def test_a_state_from_outside_of_the_segments_is_refused() -> None:
    q, k, v, g, beta = (x[None] for x in inputs_of(20))
    state = torch.zeros(1, H, *SIZES["in C"])
    with attending_in(layout_of(forest((20, 0)))), pytest.raises(ValueError, match="initial_state"):
        modeling_qwen3_5.torch_chunk_gated_delta_rule(q, k, v, g=g, beta=beta, initial_state=state)


def test_the_time_of_a_scan_grows_with_the_row_and_not_with_its_square() -> None:
    """Count the products: each wave of a long row takes as many as the wave before it."""
    waves = [len(Chunks.of(forest((CHUNK * WAVE * times, 0)), CPU).waves) for times in (1, 2, 4)]
    assert waves == [1, 2, 4]
    chunks = Chunks.of(forest((CHUNK * WAVE * 4, 0)), CPU)
    assert {wave.chunks for wave in chunks.waves} == {WAVE}


def test_many_short_rows_are_computed_at_once() -> None:
    """All of their chunks are at the first level, where no state comes before."""
    chunks = Chunks.of(forest(*[(20, 0)] * 10), CPU)
    ((level,),) = (wave.levels for wave in chunks.waves)
    assert (level.chunks, level.before_M, level.continued) == (10, None, 0)
