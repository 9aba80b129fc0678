"""The memory of full fine-tuning, as `worker/engine/adapters/modules/whole_model.py` takes it."""

from dataclasses import replace

from core.estimates.adapters import FP32, StateBytes
from core.estimates.kept import kept_bytes
from core.estimates.memory import Memory, StepMemory
from core.estimates.shapes import Load, ModelShape, base_bytes
from core.estimates.workspace import CHUNK_TOKENS, backward_bytes

LOGITS = 3  # fp32 values of each token of a chunk and word: logits, log-probabilities and their gradient


def numbers_of(model: ModelShape) -> int:
    """Return how many numbers are trained: all weights, a tied head once."""
    return base_bytes(replace(model, quantization=None)) // model.number_bytes


def whole_state(model: ModelShape) -> StateBytes:
    """Return the bytes of the job's own weights, gradients and moments, which are in fp32.

    Unless the model computes in fp32, it has a copy to compute with:

        adapter = (4 + b) P, gradients = 4 P, moments = 8 P
    """
    numbers = numbers_of(model)
    copy = 0 if model.number_bytes == FP32 else model.number_bytes
    return StateBytes((FP32 + copy) * numbers, FP32 * numbers, 2 * FP32 * numbers)


def whole_memory(model: ModelShape, load: Load, tokens: int) -> Memory:
    """Return the memory of a micro-batch of so many tokens, beside the base model, which stays in memory.

    transformers' own modules compute it, and nothing is computed again. The losses take the logits of a chunk
    in fp32, and the gradients of the head of two chunks.
    """
    portable = replace(model, path="portable", quantization=None)
    kept = tokens * kept_bytes(portable, load)
    head = min(CHUNK_TOKENS, load.supervised * tokens) * model.vocabulary * LOGITS * FP32
    head += 2 * model.vocabulary * model.hidden * model.number_bytes
    workspace = backward_bytes(portable, load, tokens)
    step = StepMemory(
        (kept,) * model.layers, stacks=0, head=head, workspace=workspace, last_workspace=workspace
    )
    return Memory(base_bytes(model), load.state, step)
