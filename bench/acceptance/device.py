"""Say what the device is, let it compute, and measure how fast it multiplies and copies.

python -m bench.acceptance.device --out device.json
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.benchmark import Timer

from bench.command_line import add_result_file, new_parser
from bench.training.machine import describe
from core.units import GIB
from worker.engine.base.base_model import choose_device
from worker.engine.base.loading import compute_dtype
from worker.engine.device.health import check_device

WIDTH = {"cuda": 8192, "cpu": 1024}  # of the square matrices
COPIED = 1 << 28  # bytes


def main() -> None:
    parser = new_parser(__doc__)
    add_result_file(parser)
    given = parser.parse_args()
    device = choose_device("auto")
    check_device(device)
    found = {"machine": asdict(describe()), **of_gpu(device), **rates(device)}
    given.out.write_text(json.dumps(found, indent=1) + "\n")


def of_gpu(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {}
    card = torch.cuda.get_device_properties(device)
    found = {"compute_capability": f"{card.major}.{card.minor}", "memory_gib": card.total_memory / GIB}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.CalledProcessError):
        found["driver"] = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    return found


def rates(device: torch.device) -> dict[str, Any]:
    """Return the rate of products in the type that models get here, and of copies: bytes read and written."""
    width, dtype = WIDTH[device.type], compute_dtype(device)
    left, right = (torch.ones(width, width, dtype=dtype, device=device) for _ in range(2))
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "gflops": 2 * width**3 / seconds("left @ right", left=left, right=right) / 1e9,
        "gb_per_second": 2 * COPIED / seconds("target.copy_(source)", target=target, source=source) / 1e9,
    }


def seconds(statement: str, **names: torch.Tensor) -> float:
    timer = Timer(statement, globals=names, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=1).median)


if __name__ == "__main__":
    main()
