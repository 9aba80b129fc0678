"""Compiles every kernel that PyTorch makes for a GPU, for GPUs that are not there, and says what it takes.

TorchInductor writes each kernel in Triton, and Triton compiles it for the given architecture with the `ptxas`
of its wheel. `cuobjdump` says how many registers a thread takes, and how much it keeps in memory beside.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import triton
import triton.backends.nvidia
from torch import Tensor
from torch._dynamo.device_interface import CudaInterface
from torch._functorch import config as functorch
from torch._inductor import config as inductor
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.codecache import PyCodeCache
from torch._inductor.compile_fx import compile_fx
from torch._inductor.fx_passes import joint_graph
from torch._inductor.runtime import triton_helpers
from torch._inductor.runtime.hints import DeviceProperties
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.flex_attention import BlockMask
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from worker.engine.batch.block_mask import block_mask, window_mask
from worker.engine.kernels.attention import Heads
from worker.engine.kernels.elementwise import SILU
from worker.engine.kernels.operations import on_gpu
from worker.engine.kernels.rotation import Pairs

KIB = 1024


@dataclass(frozen=True)
class Architecture:
    """What an SM of a GPU has, by NVIDIA's CUDA C++ Programming Guide 13, table of compute capabilities."""

    capability: tuple[int, int]
    gpu: str
    threads: int
    blocks: int
    shared: int
    """Bytes; a block may take 1 KiB less"""
    processors: int

    @property
    def properties(self) -> SimpleNamespace:
        """What PyTorch asks a GPU for."""
        major, minor = self.capability
        return SimpleNamespace(
            name=self.gpu,
            major=major,
            minor=minor,
            multi_processor_count=self.processors,
            regs_per_multiprocessor=REGISTERS,
            max_threads_per_multi_processor=self.threads,
            max_threads_per_block=1024,
            warp_size=32,
            shared_memory_per_block_optin=self.shared - KIB,
            shared_memory_per_multiprocessor=self.shared,
            total_memory=80 * 1024**3,
        )

    @property
    def driver(self) -> SimpleNamespace:
        """What Triton asks its driver for."""
        major, minor = self.capability
        memory = {"max_shared_mem": self.shared - KIB, "multiprocessor_count": self.processors}
        return SimpleNamespace(
            get_current_target=lambda: GPUTarget("cuda", 10 * major + minor, 32),
            get_current_device=lambda: 0,
            utils=SimpleNamespace(get_device_properties=lambda _device: memory),
        )

    def occupancy(self, registers: int, shared: int, warps: int) -> float:
        """Return the share of an SM's threads that can be there at once."""
        threads = 32 * warps
        by_registers = REGISTERS // (-(-registers // 8) * 8 * threads)
        return (
            min(by_registers, self.shared // (shared + KIB), self.threads // threads, self.blocks)
            * threads
            / self.threads
        )


KINDS = {"poi": "by element", "red": "sums", "per": "sums", "tem": "attention"}
"""The computations of kernels, by the second part of their names."""
REGISTERS = 65_536  # of an SM, in all of these
ARCHITECTURES = {
    "sm_80": Architecture((8, 0), "A100", 2048, 32, 164 * KIB, 108),
    "sm_89": Architecture((8, 9), "RTX 4090, L4", 1536, 24, 100 * KIB, 128),
    "sm_90": Architecture((9, 0), "H100", 2048, 32, 228 * KIB, 132),
    "sm_100": Architecture((10, 0), "B200", 2048, 32, 228 * KIB, 148),
    "sm_120": Architecture((12, 0), "RTX 5090", 1536, 24, 100 * KIB, 170),
}


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture. `spilled` are bytes of registers that wait in memory."""

    function: str
    name: str
    registers: int
    spilled: int
    shared: int
    warps: int
    occupancy: float


def kernels(architecture: Architecture) -> Iterator[Kernel]:
    """Yield each kernel of each function that a GPU has compiled, forward and backward, in bf16.

    Of some kernels PyTorch tries several candidates when it first runs them. Here the one counts that spills
    least and has the most threads.
    """
    with on(architecture):
        for case, (function, make) in cases().items():
            for number, (name, source) in enumerate(written(function, make).items(), start=1):
                candidates = _compiled(case, name, source, architecture)
                best = min(candidates, key=lambda one: (one.spilled, -one.occupancy))
                yield replace(best, name=f"{number}, {KINDS[name.split('_')[1]]}")


@contextmanager
def on(architecture: Architecture) -> Iterator[None]:
    """Let PyTorch's compiler find a GPU of this architecture inside."""
    found, properties = architecture.capability, architecture.properties
    DeviceProperties.create.cache_clear()
    with ExitStack() as stack:
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "get_device_capability": lambda *_: found,
            "get_rng_state": lambda *_: torch.empty(0),
            "set_rng_state": lambda *_: None,
            "_lazy_init": lambda: None,
            "get_device_properties": lambda *_: properties,
        }.items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        for name, value in {
            "current_device": lambda: 0,
            "get_device_properties": lambda *_: properties,
        }.items():
            stack.enter_context(patch.object(CudaInterface, name, value))
        stack.enter_context(patch.object(triton.runtime.driver, "_active", architecture.driver))
        stack.enter_context(patch.object(triton_helpers, "set_driver_to_gpu", lambda: None))
        stack.callback(DeviceProperties.create.cache_clear)
        yield


def written(function: Callable[..., Any], make: Callable[[], Sequence[Any]]) -> dict[str, str]:
    """Return the sources in Triton of a function's kernels, by name."""
    sources: dict[str, str] = {}

    def collect(_self: Any, name: str, source: str, **_device: Any) -> Any:
        sources[name] = source
        return SimpleNamespace(result=lambda: None)

    def backend(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Any:
        compile_fx(graph, inputs)
        return stop

    def stop(*_: Any) -> Any:
        raise Written

    torch._dynamo.reset()
    with (
        patch.object(AsyncCompile, "triton", collect),
        patch.object(AsyncCompile, "wait", lambda *_: None),
        patch.object(joint_graph, "lazy_init", lambda *_: None),  # its patterns are computed on the device
        inductor.patch(force_disable_caches=True, compile_threads=1, joint_graph_constant_folding=False),
        functorch.patch(force_non_lazy_backward_lowering=True),
        FakeTensorMode(allow_non_fake_inputs=True),
        suppress(Written),
    ):
        torch.compile(function, backend=backend, fullgraph=True)(*make())
    return sources


class Written(Exception):
    """A function has been compiled, and is not to be computed."""


def _compiled(case: str, name: str, source: str, architecture: Architecture) -> Iterator[Kernel]:
    tuner = getattr(PyCodeCache.load(source), name)
    for option in tuner.configs:
        meta = tuner._create_compile_meta(option)
        made = triton.compile(
            ASTSource(tuner.fn, meta["signature"], meta["constants"], meta["configs"][0]),
            target=GPUTarget("cuda", meta["cc"], 32),
            options=tuner._create_compile_options(option, meta),
        )
        registers, spilled = _assembled(made.asm["cubin"])
        shared, warps = made.metadata.shared, made.metadata.num_warps
        occupancy = architecture.occupancy(registers, shared, warps)
        yield Kernel(case, name, registers, spilled, shared, warps, occupancy)


def _assembled(cubin: bytes) -> tuple[int, int]:
    """Return the registers of a thread, and the bytes that it keeps in memory for want of more."""
    command = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([command, "-res-usage", file.name], check=True, capture_output=True, text=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", said.stdout)
    assert found is not None, said.stdout
    return int(found[1]), int(found[2])


# The sizes of Llama 3 8 B
TOKENS, HIDDEN, INNER, WORDS = 2048, 4096, 14336, 128_256


def cases() -> dict[str, tuple[Callable[..., Any], Callable[[], Sequence[Any]]]]:
    """Return each function that `operations.on_gpu` has compiled, with the maker of its arguments."""
    compiled: dict[str, Callable[..., Any]] = {}

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        part = getattr(function, "keywords", {}).get("activation")
        name = getattr(function, "func", function).__name__
        compiled[name if part is None else f"{name}, {'silu' if part is SILU else 'gelu'}"] = function
        return function

    on_gpu(note)
    found = {}
    for name, function in compiled.items():
        for case, make in ARGUMENTS[name].items():
            found[f"{name}{case}"] = function, make
    return found


def _random(*shape: int, dtype: torch.dtype = torch.bfloat16, learns: bool = True) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="cuda", requires_grad=learns and dtype.is_floating_point)


def _attention(
    heads: Heads, softcap: float | None = None, window: int | None = None, sinks: bool = False
) -> Sequence[Any]:
    cos, sin = (_random(TOKENS, heads.size, learns=False) for _ in range(2))
    qkv_TN = _random(TOKENS, heads.value_columns.stop)
    sinks_H = _random(heads.query, learns=False) if sinks else None
    how = heads, Pairs(heads.size), heads.size**-0.5, softcap, sinks_H
    return qkv_TN, cos, sin, None, _mask(window), *how


def _by_heads(heads: Heads, softcap: float | None, window: int | None, sinks: bool) -> Sequence[Any]:
    q_HTE, k_JTE, v_JTE = (_random(n, TOKENS, heads.size) for n in (heads.query, heads.key, heads.key))
    sinks_H = _random(heads.query, learns=False) if sinks else None
    how = heads.size**-0.5, softcap, sinks_H
    return q_HTE, k_JTE, v_JTE, _mask(window), *how


def _mask(window: int | None) -> BlockMask:
    exit_T = _random(TOKENS, dtype=torch.int32)
    return (
        block_mask(exit_T)
        if window is None
        else window_mask(exit_T, _random(TOKENS, dtype=torch.long), window)
    )


LLAMA, SMOLLM2 = Heads(32, 8, 128), Heads(9, 3, 64)
GEMMA_2, GPT_OSS = Heads(16, 8, 256), Heads(64, 8, 64)
ARGUMENTS: dict[str, dict[str, Callable[[], Sequence[Any]]]] = {
    "rms_norm_plainly": {
        "": lambda: (_random(TOKENS, HIDDEN), _random(HIDDEN, learns=False), 1e-5),
        " of heads": lambda: (_random(TOKENS, 40, 128), _random(40, 128, learns=False), 1e-5),
    },
    "swiglu_plainly, silu": {"": lambda: (_random(TOKENS, 2 * INNER),)},
    "swiglu_plainly, gelu": {"": lambda: (_random(TOKENS, 2 * INNER),)},
    "attended": {
        ", Llama 3 8 B": lambda: _attention(LLAMA),
        ", SmolLM2": lambda: _attention(SMOLLM2),
        ", Gemma 2 9 B": lambda: _attention(GEMMA_2, 50.0, 4096),
        ", gpt-oss": lambda: _attention(GPT_OSS, window=128, sinks=True),
    },
    "attended_by_heads": {
        ", gpt-oss": lambda: _by_heads(GPT_OSS, None, 128, True),
    },
    "dropped": {"": lambda: (_random(TOKENS, HIDDEN), _random(TOKENS, dtype=torch.int32), 7, 0.1)},
    "in_one_kernel": {
        ", with the gradient": lambda: _losses(True),
        ", without": lambda: _losses(False),
    },
    "round_to_fp8": {
        "": lambda: (_random(TOKENS, HIDDEN, learns=False), None),
        ", times scales": lambda: (
            _random(TOKENS, HIDDEN, learns=False),
            _random(HIDDEN, dtype=torch.float32, learns=False),
        ),
    },
}


def _losses(with_gradient: bool) -> Sequence[Any]:
    logits_BV = _random(512, WORDS, learns=False)
    return (
        logits_BV,
        _random(512, dtype=torch.long),
        _random(512, dtype=torch.float32, learns=False),
        with_gradient,
    )


def rows(only: str = "") -> Iterator[dict[str, Any]]:
    """Yield what each kernel takes on each architecture."""
    for name, architecture in ARCHITECTURES.items():
        if only in name:
            for kernel in kernels(architecture):
                yield {
                    "function": kernel.function,
                    "kernel": kernel.name,
                    "for": name,
                    "registers": kernel.registers,
                    "spilled, bytes": kernel.spilled,
                    "shared, KiB": round(kernel.shared / KIB, 1),
                    "warps": kernel.warps,
                    "occupancy": f"{kernel.occupancy:.0%}",
                }
