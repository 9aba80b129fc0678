"""How a job fits a device: its memory plan, its memory, and the longest row and largest batch that fit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from pydantic import TypeAdapter

from core.errors import JobError
from core.estimates.adapters import FP32
from core.estimates.job.devices import Machine
from core.estimates.loading import loading_bytes
from core.estimates.memory import Memory, step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.peft_modules import beside_of
from core.estimates.planning import USUAL_TOKENS, cheapest, possible, usable
from core.estimates.runtime import runtime_bytes
from core.estimates.shapes import Device, Load, ModelShape, base_bytes
from core.estimates.whole import Whole, expected_whole_memory
from core.methods.low_rank import LowRankAdapter
from core.methods.whole import FullTuning

Trainable = LowRankAdapter | FullTuning
LOW_RANK: TypeAdapter[LowRankAdapter] = TypeAdapter(LowRankAdapter)


@dataclass(frozen=True)
class Fit:
    """How a job fits a device: with this memory plan, or None if it does not."""

    memory_plan: MemoryPlan | None
    memory: Memory | None
    step_tokens: int
    """Tokens of the largest micro-batch: a small job's steps have fewer than the plan allows"""


@dataclass(frozen=True)
class Room:
    """A base model with what is trained on it, on one device, and the bytes that it may take there."""

    model: ModelShape
    trainables: tuple[Trainable, ...]
    """What is trained together: several adapters if a job has several candidates"""
    machine: Machine
    shards: int = 1
    """Devices over which the base model is spread"""
    offered: tuple[Recompute, ...] = tuple(Recompute)
    step_tokens: int | None = None
    """The operator's tokens of a micro-batch; None plans them"""
    eight_bit_moments: bool = False
    keeps_parent: bool = False
    """Whether the reference of the job's objective is its parent"""

    @property
    def free_bytes(self) -> int:
        """The bytes beside the base model, before what a plan spares."""
        runtime = runtime_bytes(self.model.number_bytes, self.machine.device)
        return self.machine.memory_bytes - runtime - self.base_bytes

    @property
    def base_bytes(self) -> int:
        return base_bytes(self.model) // self.shards

    @property
    def loading_bytes(self) -> int:
        """The bytes beside the base model while it is loaded. One that is spread is loaded on the host."""
        return loading_bytes(self.model) if self.shards == 1 else 0

    @property
    def trains_whole(self) -> bool:
        return isinstance(self.trainables[0], FullTuning)

    @property
    def usable_bytes(self) -> int:
        """The bytes beside the base model that a job may take."""
        return max(0, usable(max(0, self.free_bytes), self.machine.device))

    def load(self, longest: int, usual: int | None = None) -> Load:
        """Return the load of rows of at most `longest` tokens, `usual` of them in most."""
        lanes = 1 if self.trains_whole else self.machine.lanes
        loads = [
            load_of(self.model, each, self.machine.device, lanes, self.keeps_parent)
            for each in self.trainables
        ]
        load = sum(loads[1:], loads[0])
        state = load.state.with_moments(in_eight_bits=self.eight_bit_moments)
        return replace(load, state=state, longest_row=longest, usual_row=usual)

    def fit(self, longest: int, largest_step: int | None = None, usual: int | None = None) -> Fit:
        """Return how rows of this length fit. `largest_step` are the tokens of a job's largest step.

        The plan follows from the longest row alone, as in a trainer. The memory follows from all three.
        """
        memory_plan = self._memory_plan(self.load(longest))
        if memory_plan is None:
            return Fit(None, None, 0)
        tokens = max(longest, min(memory_plan.step_tokens, largest_step or memory_plan.step_tokens))
        return Fit(memory_plan, self.memory(self.load(longest, usual), memory_plan.recompute, tokens), tokens)

    def memory(self, load: Load, recompute: Recompute, tokens: int) -> Memory:
        """Return the memory of micro-batches of so many tokens."""
        if self.trains_whole:
            return expected_whole_memory(self.model, load, tokens)
        return Memory(self.base_bytes, load.state, step_memory(self.model, load, recompute, tokens))

    def largest_length(self, most: int) -> int:
        """Return the most tokens of a row that fits, up to `most`; 0 if none does."""
        return _largest(most, lambda length: self._memory_plan(self.load(length)) is not None)

    def largest_batch(self, longest: int, most: int) -> int:
        """Return how many rows of this length fit at once, up to `most`. A larger batch is cut into parts."""
        load, offered = self.load(longest), possible(self.offered, self.machine.host_bytes)
        on_host = usable(self.machine.host_bytes, "cpu")

        def fits(rows: int) -> bool:
            found = [self.memory(load, each, rows * longest) for each in offered]
            return any(
                each.beside_base <= self.usable_bytes and each.step.on_host <= on_host for each in found
            )

        return _largest(most, fits)

    def _memory_plan(self, load: Load) -> MemoryPlan | None:
        if self.free_bytes <= self.loading_bytes:
            return None
        if self.trains_whole:
            usual = self.step_tokens or USUAL_TOKENS[self.model.number_bytes]
            needed = self.memory(load, Recompute.NONE, max(usual, load.longest_row)).beside_base
            return MemoryPlan(Recompute.NONE, usual) if needed <= self.usable_bytes else None
        try:
            free, on_host = self.free_bytes, self.machine.host_bytes
            return cheapest(self.model, load, free, self.offered, self.step_tokens, on_host)
        except JobError:
            return None


def trained_numbers(model: ModelShape, trainable: Trainable) -> int:
    """Return how many numbers are trained."""
    return load_of(model, trainable, "cpu").state.moments // (2 * FP32)


def load_of(
    model: ModelShape, trainable: Trainable, device: Device, lanes: int = 1, keeps_parent: bool = False
) -> Load:
    """Return what is put on the model, without rows."""
    if isinstance(trainable, FullTuning):
        return Load(Whole.of(model).state(keeps_parent), 0, device)
    return _known_load(model, trainable.model_dump_json(), device, lanes)


@lru_cache(maxsize=512)
def _known_load(model: ModelShape, options: str, device: Device, lanes: int) -> Load:
    """Return the load of an adapter. A large model has hundreds of modules."""
    adapter = LOW_RANK.validate_json(options)
    beside = beside_of(model, adapter)
    load = Load.of(model, [adapter], 0, device, 1 if beside else lanes)
    return beside.added_to(load) if beside else load


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that fits, if a smaller one always fits better; 0 if none."""
    if most < 1 or not fits(1):
        return 0
    few, many = 1, most + 1
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if fits(middle) else (few, middle)
    return few
