"""The engine on a GPU against plain twins there and against a CPU. Needs a GPU."""

from pathlib import Path

import pytest
import torch

from tests.fixtures.engine.architectures import PORTABLE, TINY
from tests.fixtures.engine.gpu_kernels import COLUMNS, HEADS, K, share, train_two, tree
from tests.fixtures.engine.twins import DTYPES, TOLERANCE, assert_twins_agree, relative_difference, rotation
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.kernels import elementwise, operations, projection
from worker.engine.kernels.attention import Layout, segment_attention_plainly
from worker.engine.kernels.fp8.weight import Fp8Weight
from worker.engine.kernels.frozen_weight import DenseWeight

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.timeout(900),  # the first run compiles
]
GPU = torch.device("cuda")
LOSSES = {"fp32": 1e-3, "bf16": 3e-2}  # relative, after three steps beside a CPU in fp32
LENGTHS = [(300, 20, 30), (700, 10), (40, 3)]
EVERY_LENGTH = pytest.mark.parametrize("lengths", LENGTHS, ids=str)


@pytest.fixture
def do() -> operations.Operations:
    return operations.operations_on(GPU)


def test_a_gpu_with_a_compiler_takes_parts_of_its_own(do: operations.Operations) -> None:
    assert (do.segment_attention is not operations.ON_CPU.segment_attention) == operations.can_compile()


@DTYPES
@EVERY_LENGTH
def test_attention(do: operations.Operations, lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    segments = tree(*lengths)
    layout = Layout(segments, HEADS, *(x.to(GPU) for x in rotation(segments, HEADS.size, dtype)))
    assert_twins_agree(
        dtype,
        lambda qkv: do.segment_attention(qkv, layout, 0.3).cpu(),
        lambda qkv: segment_attention_plainly(qkv, layout, 0.3).cpu(),
        torch.randn(segments[-1].end, (6 + 2 * 2) * HEADS.size, device=GPU, dtype=dtype),
    )


@DTYPES
@EVERY_LENGTH
def test_norm(do: operations.Operations, lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = torch.rand(160, device=GPU, dtype=dtype)
    assert_twins_agree(
        dtype,
        lambda x: do.norm(x, weight, 1e-5).cpu(),
        lambda x: elementwise.rms_norm_plainly(x, weight, 1e-5).cpu(),
        torch.randn(sum(lengths), 160, device=GPU, dtype=dtype),
    )


@DTYPES
@EVERY_LENGTH
@pytest.mark.parametrize("gate", [False, True], ids=["alone", "of SwiGLU"])
def test_projection(
    do: operations.Operations, gate: bool, lengths: tuple[int, ...], dtype: torch.dtype
) -> None:
    tokens, (first, *_) = sum(lengths), lengths
    outcomes = []
    for fast in (True, False):
        torch.manual_seed(0)
        x = torch.randn(tokens, 2 * K if gate else K).to(GPU, dtype).requires_grad_()
        W = DenseWeight(torch.randn(64, K).to(GPU, dtype))
        shares = [
            share(rows, ranks, dtype, COLUMNS, GPU)
            for rows, ranks in [
                (slice(0, 11), {0: 4, 1: 4, 2: 4}),
                (slice(11, first), {0: 9}),
                (slice(first, tokens), {2: 16}),
            ]
        ]
        if fast:
            y = (do.project_swiglu if gate else do.project)(x, W, shares)
        else:
            y = projection.project_plainly(elementwise.swiglu_plainly(x) if gate else x, W, shares)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(GPU, dtype))
        outcomes.append([y, x.grad, *(each.low_rank.parameters.gradient for each in shares)])
    for ours, theirs in zip(*outcomes, strict=True):
        assert relative_difference(ours, theirs) < TOLERANCE[dtype]


@pytest.fixture(params=["fast", "portable"])
def folder(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path: Path) -> Path:
    if request.param == "fast":
        return tiny_folder
    save_model(PORTABLE["gemma 2, capped scores and logits"](), tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", LOSSES)
def test_a_cohort_has_the_losses_that_it_has_on_a_cpu(folder: Path, dtype: str) -> None:
    entry = TINY.model_copy(update={"dtype": dtype})
    on_cpu, _ = train_two(ResidentBase(TINY, folder, "", torch.device("cpu")))
    on_gpu, _ = train_two(ResidentBase(entry, folder, "", GPU))
    for name in on_cpu:
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=LOSSES[dtype])


@DTYPES
def test_products_in_fp8(do: operations.Operations, dtype: torch.dtype) -> None:
    """The tensor cores multiply the numbers that the twin multiplies on a CPU."""
    _skip_without_fp8()
    W_NK, bias_N = torch.randn(96, 160), torch.randn(96)
    on_gpu = Fp8Weight.of(W_NK.to(GPU, dtype), bias_N.to(GPU), do)
    on_cpu = Fp8Weight.of(W_NK.to(dtype), bias_N)
    for tokens in (1, 37, 640):
        x_TK, dy_TN = torch.randn(tokens, 160).to(dtype), torch.randn(tokens, 96).to(dtype)
        for name, given in (("forward", x_TK), ("backward", dy_TN)):
            ours, theirs = getattr(on_gpu, name)(given.to(GPU)).cpu(), getattr(on_cpu, name)(given)
            assert relative_difference(ours, theirs) < TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("dtype", LOSSES)
def test_a_cohort_in_fp8_has_almost_the_losses_that_it_has_on_a_cpu(tiny_folder: Path, dtype: str) -> None:
    _skip_without_fp8()
    on_cpu, _ = train_two(ResidentBase(TINY, tiny_folder, "", torch.device("cpu")))
    base = ResidentBase(TINY.model_copy(update={"dtype": dtype, "compute": "fp8"}), tiny_folder, "", GPU)
    base.compute_as_declared()
    assert base.compute == "fp8"
    on_gpu, _ = train_two(base)
    for name in on_cpu:
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=LOSSES["bf16"])


def _skip_without_fp8() -> None:
    if not Fp8Weight.is_fast_on(GPU):
        pytest.skip("this GPU does not multiply fp8")
