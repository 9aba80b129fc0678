"""What recurrences and short convolutions keep of a token, and what their backward pass holds.

The letters are those of `activations.py`; C the channels of the convolution, U the width of all values, H
here the heads of a state, J those of its keys, and N the size of a key.
"""

from core.estimates.adapters import FP32
from core.estimates.layers.shape import Recurrence
from core.estimates.shapes import Load, ModelShape

CHUNK = 64  # tokens of a chunk, and the chunks of a wave (`worker/engine/batch/chunks.py`)
WAVE = 16


def kept_of_recurrence(model: ModelShape, recurrence: Recurrence, load: Load) -> float:
    """Return the bytes for each token that a layer keeps of its recurrence, beside its norm.

    The convolution and its activation keep their inputs, and a wave of chunks keeps its own [3 C]; two of
    them are one in fp32. Rows are assumed to fill their chunks. A wave also keeps the states before it, one
    of each row [N U in fp32]. Kernels in C keep no waves, so a CPU takes less.

        delta rule:   of the gated norm its input, the gate and its activation [3 U in fp32]; its
                      values and the input of the last projection [2 U]; decays and factors [H each]
        Mamba2:       output, gate, activation and product [4 U in fp32], the last input [U]
        convolution:  B, C and x side by side [3 D]; its own input and output, the last input [3 D]

    In fp32 Mamba2's gate is a view of the first projection, which is kept as a whole. The last input is kept
    for a LoRA on the last projection.
    """
    C, U, H, b = recurrence.convolved, recurrence.values, recurrence.heads, model.number_bytes
    last = U * b if recurrence.adapts_output else 0
    if recurrence.kind == "convolution":
        return 5 * U * b + last
    states = min(load.rows, WAVE) if load.longest_row > CHUNK else 0
    inputs = 2 * C * b if b == FP32 else 3 * C * b
    of_states = states * U * recurrence.key_size * FP32 / (CHUNK * WAVE)
    kept = inputs + last + 4 * H * FP32 + of_states
    if recurrence.kind == "delta rule":
        return kept + U * (3 * FP32 + b)
    return kept + U * 4 * FP32 + (C + H if b == FP32 else 0) * b


def recurrence_backward_bytes(model: ModelShape, recurrence: Recurrence, tokens: float) -> float:
    """Return the bytes that the backward pass of a recurrence holds beside the kept values.

    It holds the gradients of the gated norm in fp32. When these and what the norm has kept are free, a wave
    is computed again beside the gradients of its outputs and values, all in fp32: products of keys, decays
    and the inverse [64 for each head], the keys, queries and values of each head, and the states.
    """
    U, H, b = recurrence.values, recurrence.heads, model.number_bytes
    if recurrence.kind == "convolution":
        return tokens * 4 * U * b
    N, J, delta = recurrence.key_size, recurrence.key_heads, recurrence.kind == "delta rule"
    of_head = 4 * CHUNK + 3 * N if delta else 2 * CHUNK + 1.5 * N
    of_token = J * (2 * CHUNK + 5 * N) + H * of_head + 3 * U + 2 * U * N / CHUNK
    freed = (3 * FP32 + 2 * b if delta else 4 * FP32 + b) - 2 * FP32
    wave = min(tokens, CHUNK * WAVE) * of_token * FP32 - tokens * U * freed
    return max(tokens * U * (2 if delta else 3.5) * FP32, wave)
