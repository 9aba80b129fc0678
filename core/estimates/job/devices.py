"""The devices that estimates are made for: well-known cards, and the machine that trains here."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.estimates.adapters import FP32
from core.estimates.lanes import MAX_LANES
from core.estimates.runtime import MIB
from core.estimates.shapes import BF16, Device

DeviceName = Literal["rtx-4090", "l4", "a100-40gb", "a100-80gb", "h100", "h200", "this-machine"]
DEVICE_NAMES: tuple[DeviceName, ...] = get_args(DeviceName)
THIS_MACHINE: DeviceName = "this-machine"

GPU_EFFICIENCY = (0.12, 0.3, 0.5)
"""The least, the expected and the highest share of a card's dense bf16 peak that a training reaches.

It is a rule, not a measurement: published trainings with LoRA reach 20 to 50 %, and less with short rows."""
CPU_FLOPS = {BF16: (15e9, 80e9, 300e9), FP32: (8e9, 30e9, 90e9)}
"""Multiplications and additions a second of one lane, least, expected and most, by the bytes of a number.

Measured on a core of an EPYC without AMX: 60e9 to 120e9 in bf16. AMX is above, an old core below."""
HOST_SHARE = 0.5
"""Free memory of a GPU's host, as a share of the card's: a rule. A trainer measures it.

Even the smallest machines that clouds rent with these cards have it: 16 GB beside an L4 with 24."""
CPUINFO = Path("/proc/cpuinfo")

Range = tuple[float, float, float]
"""The least, the expected and the highest value."""


@dataclass(frozen=True)
class Machine:
    """A device, as far as an estimate depends on it."""

    name: DeviceName
    title: str
    device: Device
    memory_bytes: int
    flops: Range
    """Multiplications and additions a second that a training reaches there."""
    number_bytes: int = BF16
    """Bytes of a number that base models compute with there, unless the catalog says otherwise."""
    lanes: int = 1

    @property
    def host_bytes(self) -> int:
        """The memory beside the device's own in which the inputs of layers may wait."""
        return round(HOST_SHARE * self.memory_bytes) if self.device == "gpu" else 0


def _card(name: DeviceName, title: str, mebibytes: int, peak: float) -> Machine:
    flops = (peak * GPU_EFFICIENCY[0], peak * GPU_EFFICIENCY[1], peak * GPU_EFFICIENCY[2])
    return Machine(name, title, "gpu", mebibytes * MIB, flops)


# Memory as nvidia-smi shows it; dense bf16 peaks with fp32 sums, as NVIDIA's data sheets have them
CARDS = (
    _card("rtx-4090", "NVIDIA GeForce RTX 4090", 24_564, 165e12),
    _card("l4", "NVIDIA L4", 23_034, 121e12),
    _card("a100-40gb", "NVIDIA A100 40 GB", 40_960, 312e12),
    _card("a100-80gb", "NVIDIA A100 80 GB", 81_920, 312e12),
    _card("h100", "NVIDIA H100 80 GB", 81_559, 989e12),
    _card("h200", "NVIDIA H200 141 GB", 143_771, 989e12),
)


def cpu(title: str, memory_bytes: int, number_bytes: int, lanes: int) -> Machine:
    """Return this machine, if it trains on a CPU."""
    least, expected, most = (lanes * each for each in CPU_FLOPS[number_bytes])
    return Machine(THIS_MACHINE, title, "cpu", memory_bytes, (least, expected, most), number_bytes, lanes)


def gpu(title: str, memory_bytes: int, number_bytes: int) -> Machine:
    """Return this machine, if it trains on a GPU. One that is not listed is between all cards."""
    known = next((card for card in CARDS if _words(card.title) <= _words(title)), None)
    flops = known.flops if known else (CARDS[1].flops[0], CARDS[2].flops[1], CARDS[-1].flops[2])
    return Machine(THIS_MACHINE, title, "gpu", memory_bytes, flops, number_bytes)


def own_cpu() -> Machine:
    """Return the machine of this process, for the time in which no worker is there."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lanes = min(MAX_LANES, len(os.sched_getaffinity(0)))
    return cpu("this machine's CPU", memory, BF16 if _multiplies_bf16() else FP32, lanes)


def _multiplies_bf16() -> bool:
    """Return whether bf16 is faster than fp32 here, by the rule of `worker/engine/base/loading.py`."""
    text = CPUINFO.read_text("utf-8", "replace") if CPUINFO.exists() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith(("flags", "Features"))), [])
    by_avx512 = "avx512_bf16" in flags and "GenuineIntel" not in text
    return by_avx512 or "amx_bf16" in flags or "bf16" in flags


def _words(title: str) -> set[str]:
    """Return the words that name a card: drivers and data sheets write the rest in several ways."""
    words = title.lower().replace("-", " ").replace("gb", " gb").split()
    return {word for word in words if word not in ("nvidia", "geforce", "80", "40", "141", "gb")}
