"""The memory of full fine-tuning, as `worker/engine/adapters/modules/whole_model.py` takes it.

An estimate knows a model's shape. A trainer has the model, and measures the activations of short rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from core.estimates.activations import kept_bytes
from core.estimates.adapters import FP32, StateBytes
from core.estimates.memory import Memory, StepMemory
from core.estimates.shapes import BF16, Load, ModelShape, base_bytes
from core.estimates.workspace import CHUNK_TOKENS, backward_bytes

LOGITS = 3  # fp32 values of each token of a chunk and word: logits, log-probabilities and their gradient


@dataclass(frozen=True)
class Whole:
    """A model whose weights are all trained, as plain numbers."""

    numbers: int
    """How many numbers are trained, with a tied head once"""
    hidden: int
    vocabulary: int
    number_bytes: int
    """Bytes of a number that the model computes with"""
    saved_bytes: int = BF16
    """Bytes of a number in the result, which has the type of the source weights"""

    @classmethod
    def of(cls, model: ModelShape) -> Self:
        """Return what is trained of a model that is not at hand."""
        numbers = base_bytes(replace(model, quantization=None, towers=0)) // model.number_bytes
        return cls(numbers, model.hidden, model.vocabulary, model.number_bytes)

    def state(self, keeps_parent: bool) -> StateBytes:
        """Return the bytes of the job's own weights, gradients and moments, which are in fp32.

        Unless the model computes in fp32, it has a copy to compute with. A job whose reference is its parent
        also holds the parent's weights and, while the reference computes, its own once more:

            adapter = (4 + b) P, or (12 + b) P with a parent; gradients = 4 P, moments = 8 P
        """
        copy = 0 if self.number_bytes == FP32 else self.number_bytes
        parent = 2 * FP32 if keeps_parent else 0
        numbers = self.numbers
        return StateBytes((FP32 + copy + parent) * numbers, FP32 * numbers, 2 * FP32 * numbers)


def whole_memory(
    whole: Whole, load: Load, tokens: int, kept_by_layer: Sequence[float], workspace: float, base: int = 0
) -> Memory:
    """Return the memory of a micro-batch of so many tokens, beside the `base` model, which stays in memory.

    The activations are what the layers keep, and the most that the backward pass of one of them holds beside
    it. Nothing is computed again. The losses take the logits of a chunk in fp32, and the gradients of the
    head of two chunks. A saved copy of the weights is made in the memory of the host.
    """
    head = min(CHUNK_TOKENS, load.supervised * tokens) * whole.vocabulary * LOGITS * FP32
    head += 2 * whole.vocabulary * whole.hidden * whole.number_bytes
    step = StepMemory(
        tuple(kept_by_layer), stacks=0, head=head, workspace=workspace, last_workspace=workspace
    )
    saved = whole.numbers * whole.saved_bytes if load.device == "cpu" else 0
    return Memory(base, load.state, step, saved)


def expected_whole_memory(model: ModelShape, load: Load, tokens: int) -> Memory:
    """Return the memory of a micro-batch, as `whole_memory` does, from the model's shape alone."""
    kept = [tokens * each for each in _kept_by_layer(model, load)]
    workspace = whole_workspace(model, load, tokens)
    return whole_memory(Whole.of(model), load, tokens, kept, workspace, base_bytes(model))


def _kept_by_layer(model: ModelShape, load: Load) -> list[float]:
    """Return the bytes for each token that each layer keeps. The final norm counts with the last layer.

    A trained norm keeps its values before the weight too [D, or H E + J E for norms of heads].
    """
    D, b = model.hidden, model.number_bytes
    kept = [_kept(layer, load) for layer in _by_modules(model).each_layer]
    return [*kept[:-1], kept[-1] + D * (FP32 + b)]


def _kept(layer: ModelShape, load: Load) -> float:
    heads = layer.queries + layer.own_keys // 2 if layer.norms_of_heads else 0
    return kept_bytes(layer, load) + (layer.norms * layer.hidden + heads) * layer.number_bytes


def _by_modules(model: ModelShape) -> ModelShape:
    return replace(model, path="portable", quantization=None)


def whole_workspace(model: ModelShape, load: Load, tokens: int) -> float:
    """Return the most that the backward pass of one of transformers' layers holds beside what is kept."""
    return max(backward_bytes(layer, load, tokens) for layer in {*_by_modules(model).each_layer})
