"""Compare the memory of a step with the plan, on the largest model of random weights that fits here.

    python -m bench.acceptance.memory --out memory.json

On a GPU these are models of up to 8 B parameters in bf16, made on the GPU. On a CPU it is one of 0.04 B.
"""

from __future__ import annotations

import json
from functools import partial

import torch

from bench.command_line import add_result_file, new_parser
from bench.memory.measured import peak_of_step
from bench.memory.models import Case, llama, qwen3_8b
from core.errors import JobError
from core.estimates.memory import step_memory
from core.estimates.memory_plan import MemoryPlan
from core.estimates.planning import cheapest
from core.estimates.shapes import Device, Load, base_bytes
from core.methods.low_rank import LoraAdapter
from worker.engine.base.base_model import choose_device

ROW, RANK = 512, 16
ON_GPU = [
    Case("Qwen 3 8 B, bf16", qwen3_8b),
    Case("Llama 3 B, bf16", partial(llama, 28, 3072, 8192, 24, 8, 128256)),
    Case("Llama 1 B, bf16", partial(llama, 16, 2048, 8192, 32, 8, 128256)),
]
ON_CPU = [Case("Llama 0.04 B, fp32", partial(llama, 6, 640, 1792, 10, 5, 8192), torch.float32)]
CPU_BYTES = 10**9


def main() -> None:
    parser = new_parser(__doc__)
    add_result_file(parser)
    given = parser.parse_args()
    device = choose_device("auto")
    case, plan = largest_that_fits(device)
    rows = max(1, plan.step_tokens // ROW)
    planned = step_memory(case.shape, load_of(case, device), plan.recompute, rows * ROW).peak
    found = {
        "model": case.name,
        "tokens": rows * ROW,
        "recompute": plan.recompute.name.lower(),
        "weight_bytes": base_bytes(case.shape),
        "planned_bytes": planned,
        "measured_bytes": peak_of_step(case, rows, ROW, RANK, device, plan.recompute),
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")


def largest_that_fits(device: torch.device) -> tuple[Case, MemoryPlan]:
    """Return a model and its plan. Exits if none fits."""
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else CPU_BYTES
    for case in ON_GPU if on_gpu else ON_CPU:
        try:
            return case, cheapest(case.shape, load_of(case, device), free - base_bytes(case.shape))
        except JobError:
            continue
    raise SystemExit(f"no model of the list fits into the {free / 1e9:.1f} GB that are free")


def load_of(case: Case, device: torch.device) -> Load:
    kind: Device = "gpu" if device.type == "cuda" else "cpu"
    return Load.of(case.shape, [LoraAdapter(r=RANK)], ROW, kind)


if __name__ == "__main__":
    main()
