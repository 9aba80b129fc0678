"""Describe the machine, and measure how fast it multiplies matrices at a base's shapes.

    python -m bench.training.machine --base DIR [--out machine.json]

Training is compared with the measured rate, the ceiling: on this machine and torch, no trainer can spend less
time in the same products.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.nn.functional import linear

from bench.command_line import new_parser

ISA_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
LONG = 2.0  # seconds; a few products take so long in a type that the hardware does not multiply


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    """CPUs that this process may use."""
    threads: int
    """Threads that torch uses in one product."""
    memory_bytes: int
    isa: list[str]
    """The instruction sets of this CPU that matter for matrix products."""
    python: str
    torch: str
    gpu: str | None


@dataclass(frozen=True)
class Ceiling:
    """The measured rate of one block's linear layers, forward and input gradient, in one type."""

    dtype: str
    tokens: int
    gflops: float
    """10^9 floating-point operations per second over all products, from the fastest run of each."""
    gflops_by_shape: dict[str, float]
    """10^9 operations per second, keyed `KxN`: tokens x K times K x N."""


def describe() -> Machine:
    info = cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=len(psutil.Process().cpu_affinity()),
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        isa=[flag for flag in ISA_FLAGS if flag in flags],
        python=platform.python_version(),
        torch=torch.__version__,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def cpu_info() -> dict[str, str]:
    """Return the first processor's entry of /proc/cpuinfo. Works only on Linux."""
    entry = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in entry.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def linear_shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of a block's seven linear layers, from the base's config.json."""
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    keys = config.get("num_key_value_heads", heads) * head
    return {
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def best_seconds(run: Callable[[], object], runs: int, warm_up: int = 3) -> float:
    """Return the fastest of `runs` calls, after `warm_up` uncounted calls. Stops after LONG seconds."""
    for _ in range(warm_up):
        run()
    best, end = float("inf"), time.perf_counter() + LONG
    for _ in range(runs):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
        if time.perf_counter() > end:
            break
    return best


def measure_ceiling(base: Path, dtype: torch.dtype, tokens: int = 1024, runs: int = 50) -> Ceiling:
    """Time x W^T and g W at the shapes of `base`'s linear layers on the CPU.

    A product of T x K by K x N counts as 2 T K N operations. Raises FileNotFoundError without a config.json.
    """
    flops = seconds = 0.0
    by_shape: dict[str, float] = {}
    for inputs, outputs in linear_shapes(base).values():
        x_TK, g_TN = torch.randn(tokens, inputs, dtype=dtype), torch.randn(tokens, outputs, dtype=dtype)
        w_NK = torch.randn(outputs, inputs, dtype=dtype)
        forward = best_seconds(partial(linear, x_TK, w_NK), runs)
        backward = best_seconds(partial(torch.matmul, g_TN, w_NK), runs)
        each = 2.0 * tokens * inputs * outputs
        timed = {f"{inputs}x{outputs}": forward, f"{outputs}x{inputs} input gradient": backward}
        for product, taken in timed.items():
            by_shape[product] = max(by_shape.get(product, 0.0), each / taken / 1e9)
        flops, seconds = flops + 2 * each, seconds + forward + backward
    return Ceiling(str(dtype).removeprefix("torch."), tokens, flops / seconds / 1e9, by_shape)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder with the base's config.json")
    parser.add_argument("--tokens", type=int, default=1024, help="rows of the left matrix (default 1024)")
    parser.add_argument("--out", type=Path, help="also write the report here, JSON")
    given = parser.parse_args()
    ceilings = [measure_ceiling(given.base, dtype, given.tokens) for dtype in (torch.bfloat16, torch.float32)]
    report = {"machine": asdict(describe()), "ceilings": [asdict(ceiling) for ceiling in ceilings]}
    text = json.dumps(report, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
