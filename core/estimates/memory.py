"""The memory of a training, part by part: base, adapters, and what a step keeps or needs for a while.

The parts follow from what the engine's functions save and make. `tests/unit/bench/test_memory.py` and
`python -m bench.memory` compare them with torch's own accounting of the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.estimates.activations import computes_by_modules, kept_bytes, once_bytes
from core.estimates.adapters import StateBytes
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.shapes import Load, ModelShape, base_bytes
from core.estimates.workspace import backward_bytes, head_bytes, last_backward_bytes, stack_bytes


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
    waiting: float = 0.0
    """Gradients of a trained embedding that is the head too, during the whole backward pass."""
    at_end: float = 0.0
    """Gradients of a trained embedding, when no layer keeps anything any more."""
    moving: float = 0.0
    """A layer's input on its way from the device to the host, or back."""
    on_host: float = 0.0
    """In the memory of a GPU's host. It is not part of `peak`."""

    @property
    def kept(self) -> float:
        return sum(self.kept_by_layer)

    @property
    def peak(self) -> int:
        """The most at once: at the losses, in the backward pass of a layer, or in that of the embedding."""
        *others, last = self.kept_by_layer
        backward = self.waiting + max(last + self.last_workspace, self.workspace if others else 0)
        later = max(last + self.head, backward)
        return round(max(sum(others) + self.stacks + self.moving + later, self.waiting + self.at_end))


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
    load = replace(load, rows=tokens / max(1, load.usual_row or load.longest_row))
    *others, final = model.each_layer
    all_kept = kept_bytes(final, load)
    at_end = tokens if computes_by_modules(model, load) else load.supervised * tokens
    mlp = all_kept - kept_bytes(final, load, Recompute.GATE_UP)
    last = tokens * (all_kept - mlp) + at_end * mlp
    kept, workspace = _before_last(others, load, recompute, tokens)
    from_host = recompute is Recompute.LAYERS_FROM_HOST and load.device == "gpu"
    moving = tokens * kept_bytes(final, load, Recompute.LAYERS) if from_host else 0.0
    first, *behind = *kept, last
    matrix = model.vocabulary * model.hidden * model.number_bytes
    return StepMemory(
        kept_by_layer=(first + once_bytes(model, load, tokens), *behind),
        stacks=stack_bytes(model, load),
        head=head_bytes(model, load, tokens),
        workspace=workspace,
        last_workspace=last_backward_bytes(final, load, tokens, at_end),
        waiting=load.peft.waiting * matrix if load.peft else 0.0,
        at_end=load.peft.at_embedding * matrix if load.peft else 0.0,
        moving=moving,
        on_host=(model.layers - 1) * _pinned_bytes(round(moving)),
    )


def _before_last(
    layers: Sequence[ModelShape], load: Load, recompute: Recompute, tokens: int
) -> tuple[list[float], float]:
    """Return what each layer keeps, and the most that the backward pass of one holds beside what all keep.

    What the layers behind it have kept is free by then. Layers that are alike are one object, so they are
    counted once: to compare them would take most of the time.
    """
    kept: dict[int, float] = {}
    held: dict[int, float] = {}
    for number, layer in {id(layer): layer for layer in layers}.items():
        kept[number] = tokens * kept_bytes(layer, load, recompute)
        held[number] = tokens * kept_bytes(layer, load) - kept[number] + backward_bytes(layer, load, tokens)
    numbers = list(map(id, layers))
    most = freed = 0.0
    for number in reversed(numbers):
        most = max(most, held[number] - freed)
        freed += kept[number]
    return [kept[number] for number in numbers], most


def _pinned_bytes(size: int) -> int:
    """Return what PyTorch takes of the host's memory for tensors of at most this size, of which one waits.

    It rounds each up to a power of two, and keeps what it took for smaller ones: less than as much again.
    """
    return 2 << (size - 1).bit_length() if size else 0
