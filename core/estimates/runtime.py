"""What a trainer's process holds beside its tensors: libraries, the code that they make, gaps of its heap.

The tensors follow from what the engine computes (`memory.py`). This part was measured, as the system counts a
process's memory (`python -m bench.estimates`).
"""

from collections.abc import Mapping

from core.estimates.memory import StepMemory
from core.estimates.shapes import BF16, Device

MIB = 1024**2
MB = 10**6
LIBRARY_BYTES: Mapping[Device, int] = {"cpu": 470 * MIB, "gpu": 512 * MIB}
"""A trainer's libraries: on a GPU with CUDA's context and cuBLAS' workspaces.

Measured on a CPU: 450 MB once a trainer has imported its modules, 29 MB more with the first base model, of
which its tokenizer takes 10 MB, and 14 MB more in the first step."""
CODE_BYTES = 150 * MB
HEAP_GAPS = 0.2
"""Blocks that the heap keeps between others that are in use, as a share of what a step's tensors take.

Measured: 0.17 to 0.24 with 195 to 319 tokens in a step, 0.11 with 1,014 tokens."""


def code_bytes(number_bytes: int, device: Device) -> int:
    """Return the bytes of the code that oneDNN makes for products in bf16 on a CPU.

    oneDNN makes code for each shape that it multiplies. It keeps the code of the newest shapes, as many as
    `ONEDNN_PRIMITIVE_CACHE_CAPACITY` says, and PyTorch keeps a description of the newest ones in each thread,
    as many as `LRU_CACHE_CAPACITY` says (`worker/process/environment.py`). A few steps fill both. What they
    take does not depend on the size of the matrices.

    Measured with SmolLM2 in steps of different lengths, with 256 shapes of code and 128 descriptions in each
    of two lanes: 66 MB after the first step, 131 after five, and 89 to 116 MB from then on. Six jobs of six
    ranks took 148 MB from the first step on. Products in fp32 (MKL) took 7 MB, which is not counted.
    """
    return CODE_BYTES if device == "cpu" and number_bytes == BF16 else 0


def gap_bytes(step: StepMemory, device: Device) -> int:
    """Return the bytes of a CPU's heap that are free, but that the system counts as the process's."""
    return round(HEAP_GAPS * step.peak) if device == "cpu" else 0


def runtime_bytes(number_bytes: int, device: Device) -> int:
    """Return what is left neither to a base model nor to its jobs, apart from the heap's gaps."""
    return LIBRARY_BYTES[device] + code_bytes(number_bytes, device)
