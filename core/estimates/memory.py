"""The memory of a training, part by part: base, adapters, and what a step keeps or needs for a while.

The parts follow from what the engine's functions save and make. `tests/unit/bench/test_memory.py` and
`python -m bench.memory` compare them with torch's own accounting of the same functions.
"""

from dataclasses import dataclass

from core.estimates.activations import kept_bytes
from core.estimates.adapters import StateBytes
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.shapes import Load, ModelShape, base_bytes
from core.estimates.workspace import backward_bytes, head_bytes, stack_bytes


@dataclass(frozen=True)
class StepMemory:
    """The bytes of a micro-batch. Not all parts exist at the same time: `peak` is the most that does."""

    kept_by_layer: tuple[float, ...]
    """What each layer keeps from its forward to its backward pass, and the last one of supervised tokens."""
    stacks: float
    """The adapters' factors once more, on a GPU."""
    head: float
    """For the losses, when all layers keep their values."""
    workspace: float
    """In the backward pass of one layer: what is computed again for it, and what the pass holds."""
    last_workspace: float
    """The same in the last layer, where nothing is computed again."""
    moving: float = 0.0
    """A layer's input on its way from the device to the host, or back."""
    on_host: float = 0.0
    """In the memory of a GPU's host. It is not part of `peak`."""

    @property
    def kept(self) -> float:
        return sum(self.kept_by_layer)

    @property
    def peak(self) -> int:
        """The most at once: at the losses, or in the backward pass of one of the last two layers."""
        *others, last = self.kept_by_layer
        later = max(last + self.head, last + self.last_workspace, self.workspace if others else 0)
        return round(sum(others) + self.stacks + self.moving + later)


@dataclass(frozen=True)
class Memory:
    """The bytes of a whole training on a device."""

    base: int
    state: StateBytes
    step: StepMemory
    saved: int = 0
    """A copy of what is trained that is made to be saved, when no step exists."""

    @property
    def beside_base(self) -> int:
        """The most at once beside the base model."""
        return self.state.total + max(self.step.peak, self.saved)

    @property
    def peak(self) -> int:
        return self.base + self.beside_base


def memory(model: ModelShape, load: Load, memory_plan: MemoryPlan) -> Memory:
    """Return the memory of jobs that train on a model with this plan.

    A row that is longer than a micro-batch has one of its own, so the longer of the two counts.
    """
    tokens = max(memory_plan.step_tokens, load.longest_row)
    return Memory(base_bytes(model), load.state, step_memory(model, load, memory_plan.recompute, tokens))


def step_memory(model: ModelShape, load: Load, recompute: Recompute, tokens: int) -> StepMemory:
    """Return the memory of a micro-batch of so many tokens.

    The fast path's last layer computes output projection and MLP for supervised tokens only. If inputs wait
    in a GPU's host memory, the device holds one beside what it computes: the last one that was sent, or the
    next one that comes back.
    """
    all_kept = kept_bytes(model, load)
    kept = kept_bytes(model, load, recompute)
    at_end = load.supervised * tokens if model.path == "fast" else tokens
    mlp = all_kept - kept_bytes(model, load, Recompute.GATE_UP)
    last = tokens * (all_kept - mlp) + at_end * mlp
    again = tokens * (all_kept - kept)
    from_host = recompute is Recompute.LAYERS_FROM_HOST and load.device == "gpu"
    moving = tokens * kept_bytes(model, load, Recompute.LAYERS) if from_host else 0.0
    return StepMemory(
        kept_by_layer=(*[tokens * kept] * (model.layers - 1), last),
        stacks=stack_bytes(model, load),
        head=head_bytes(model, load, tokens),
        workspace=again + backward_bytes(model, load, tokens),
        last_workspace=backward_bytes(model, load, at_end),
        moving=moving,
        on_host=(model.layers - 1) * _pinned_bytes(round(moving)),
    )


def _pinned_bytes(size: int) -> int:
    """Return what PyTorch takes of the host's memory for tensors of at most this size, of which one waits.

    It rounds each up to a power of two, and keeps what it took for smaller ones: less than as much again.
    """
    return 2 << (size - 1).bit_length() if size else 0
