"""The step in C computes the same as its plain twin for every architecture, also with fewer instructions."""

import platform
from pathlib import Path

import pytest
import torch

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import FAST, TINY, WITHOUT_C
from tests.fixtures.engine.sampling import ask, prompts, saved_adapter
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.native import build
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.native import step
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.running import Chunk, Running
from worker.engine.sampler.sampler import Sampler

pytestmark = pytest.mark.family(6)

LONGEST = 64  # tokens of a request
# AVX2 without AVX512, and neither of them; another CPU than Intel's and AMD's builds only for itself
NATIVE, *OTHERS = "-march=native", "-march=x86-64-v3", "-march=x86-64-v2"
# Together they have all parts that an architecture may have
WITH_ALL_PARTS = (
    *("qwen 2, windows in some layers", "gemma 3, windows in some layers", "glm 4, four norms"),
    *("gemma 2, caps, and windows in some layers", "granite, factors everywhere"),
    "ministral 3, queries scaled by position",
)
IN_C = [name for name, make in FAST.items() if not make().model_type.startswith(WITHOUT_C)]
CASES = [(NATIVE, None, name) for name in IN_C] + [
    (cpu, None, name) for cpu in OTHERS for name in WITH_ALL_PARTS
]
# Biases, a head of its own, a scaled embedding
IN_FEW_BITS = [
    (cpu, quantization, name)
    for cpu in (NATIVE, *OTHERS)
    for quantization in ("nf4", "int8")
    for name in ("qwen 2, windows in some layers", "gemma 3, windows in some layers")
]
OF_SEVERAL_PARTS = 1104  # inputs that are decoded in two parts; rows of them begin inside of blocks of nf4
CLOSE = {"fp32": 1e-4, "bf16": 0.05}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the targets are those of x86-64")
@pytest.mark.parametrize(("cpu", "quantization", "architecture"), CASES + IN_FEW_BITS)
@pytest.mark.parametrize("dtype", CLOSE)
def test_every_architecture_and_cpu_computes_the_logits_of_the_plain_twin(
    tmp_path: Path,
    dtype: str,
    cpu: str,
    quantization: str | None,
    architecture: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = FAST[architecture]()
    if quantization:
        config.intermediate_size = OF_SEVERAL_PARTS
    save_model(config, tmp_path)
    entry = TINY.model_copy(update={"dtype": dtype, "quantization": quantization})
    base = ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))
    monkeypatch.setattr(
        "worker.engine.sampler.fast.native.step.library", lambda *built: build.library(*built, cpu)
    )
    ranks = {"odd": LoraAdapter(r=3, use_dora=True), "wide": LoraAdapter(r=40), "whole": LoraAdapter(r=16)}
    sampler = Sampler(base)
    adapters = [
        sampler.load_adapter(saved_adapter(base, each, tmp_path / name), name) for name, each in ranks.items()
    ]
    asked = [*zip(prompts(7, longest=LONGEST), [None, *adapters, *adapters], strict=True)]
    chunks = [chunk_of(n, prompt, adapter) for n, (prompt, adapter) in enumerate(asked)]
    blocks = len(asked) * LONGEST // BLOCK
    in_c, plain = (RaggedDecoder(base.decoder, blocks, most_in_c=most) for most in (LONGEST, 0))  # type: ignore[arg-type]
    assert isinstance(in_c._native, step.NativeStep)
    for step_of in (lambda chunk: chunk, next_of):  # the prompts, and then a token of each
        several = [step_of(chunk) for chunk in chunks]
        found, expected = in_c.compute(several), plain.compute(several)
        assert [each.chunk for each in found] == [each.chunk for each in expected]
        found_SV, expected_SV = (torch.cat([each.logits_SV for each in of]) for of in (found, expected))
        assert (found_SV - expected_SV).norm() < CLOSE[dtype] * expected_SV.norm()


def chunk_of(number: int, prompt: list[int], adapter: object) -> Chunk:
    """Return a whole prompt as one chunk, in blocks of its own."""
    request = ask(str(number), prompt, adapter)  # type: ignore[arg-type]
    unused: object = None
    running = Running(request, LONGEST, unused, unused, list(prompt))  # type: ignore[arg-type]
    per_request = LONGEST // BLOCK
    running.blocks = list(range(number * per_request, (number + 1) * per_request))
    return Chunk(running, 0, len(prompt))


def next_of(chunk: Chunk) -> Chunk:
    """Return the chunk of one token more."""
    chunk.running.tokens.append(21)
    return Chunk(chunk.running, chunk.stop, chunk.stop + 1)


def test_c_computes_no_layers_with_sinks(base: ResidentBase, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = base.decoder.layers  # type: ignore[attr-defined]
    pool = [torch.empty(2, BLOCK, layer.heads.key, layer.heads.size) for layer in layers]
    assert step.NativeStep.for_pool(base.decoder, pool) is not None  # type: ignore[arg-type]
    monkeypatch.setitem(vars(layers[0]), "sinks_H", torch.zeros(4))
    assert step.NativeStep.for_pool(base.decoder, pool) is None  # type: ignore[arg-type]
