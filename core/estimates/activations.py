"""What a layer keeps of each token for the backward pass.

D is the hidden width, I the inner one, H E and J E those of queries and of keys or values, R the ranks of all
adapted projections. b is the bytes of a number.
"""

from core.estimates.adapters import FP32
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import Load, ModelShape

# Queries whose scores are one product at most: few enough to waste little work above the diagonal, and enough
# for an efficient product
QUERY_BLOCK = 256
SAVED_KEYS = 1024  # probabilities over more keys are not kept for the backward pass
INDEX = 8  # bytes of a place on an axis
CAPPED_BYTES = 8  # fp32: tanh 4 + softmax 4; bf16: tanh 2 + softmax 4 + its rounded values 2
LAYERS_AGAIN = (Recompute.LAYERS, Recompute.LAYERS_FROM_HOST)


def kept_bytes(model: ModelShape, load: Load, recompute: Recompute = Recompute.NONE) -> float:
    """Return the bytes for each token that one layer keeps. The last layer always keeps all."""
    if model.path == "portable":
        return _kept_by_modules(model, load, recompute)
    return _kept_by_kernels(model, load, recompute)


def _kept_by_kernels(model: ModelShape, load: Load, recompute: Recompute) -> float:
    """Return what `projection.py` and `attention.py` of `worker/engine/kernels` save on the fast path.

        norm and q, k, v:      x [D], 1/rms [1 in fp32]; on a GPU with grouped products the norm's values too
        attention on a CPU:    queries [H E], keys and values [2 J E], probabilities
        attention on a GPU:    q, k, v [H E + 2 J E], the output [H E], the sums' logarithm [H in fp32]
        output projection:     attended values [H E]
        norm and gate, up:     as norm and q, k, v
        gate and down:         gate and up [2 I]
        norms of heads:        q, k, v [H E + 2 J E], 1/rms of each head [H + J in fp32]
        other norms:           x [D], 1/rms
        every projection:      x Aᵀ [R in all]

    The residual sums keep nothing, and a norm's input is the sum itself. Keys and values on a CPU, and
    queries of rows beyond SAVED_KEYS, are never rounded to bf16. If gate and up are computed again, the input
    of their norm is left of the MLP. If layers are, x is left, unless it waits in a GPU's host memory. On a
    CPU the keys and values are left too, which lanes share only once.
    """
    D, b = model.hidden, model.kept_bytes
    on_cpu = load.device == "cpu"
    keys = 2 * model.keys * (model.number_bytes if on_cpu else b)
    if recompute in LAYERS_AGAIN:
        return _input_bytes(D * b, load, recompute) + (keys if on_cpu else 0)
    norms = 2 * D * b + 2 * FP32 + (0 if on_cpu else 2 * D * b) + _other_norms(model, recompute)
    if on_cpu:
        long = load.longest_row > SAVED_KEYS
        queries = model.queries * (model.number_bytes if long else b)
        attention = queries + keys + _probabilities(model, load) * b
    else:
        attention = (2 * model.queries * b) + keys + FP32 * model.heads
    kept = norms + attention + model.queries * b + _for_factors(model, load) * b
    if recompute is Recompute.GATE_UP:
        return kept - (0 if on_cpu else D * b)
    return kept + 2 * model.inner * b


def _other_norms(model: ModelShape, recompute: Recompute) -> float:
    """Return what the fast path's norms save that not every architecture has; one of them is the MLP's."""
    after = model.norms - 2 - (1 if model.norms > 2 and recompute is Recompute.GATE_UP else 0)
    kept = after * (model.hidden * model.kept_bytes + FP32)
    if model.norms_of_heads:
        kept += (model.queries + 2 * model.keys) * model.kept_bytes + FP32 * (model.heads + model.key_heads)
    return kept


def _kept_by_modules(model: ModelShape, load: Load, recompute: Recompute) -> float:
    """Return what autograd saves of transformers' modules, with our updates and attention.

        a norm:                x in fp32 [D], which is x itself where the model computes in fp32
        q, k, v; gate, up:     the norm's values [D], for the updates
        norms of heads:        queries and keys in fp32 [H E + J E]
        attention:             rotated queries [H E], keys and values [2 J E], the output [H E], [H in fp32]
        attention that keeps   rotated queries, and keys and values for each query head [3 H E]; the mask [L],
        its scores:            and the tanh, the softmax in fp32 and its rounded values [H L each]
        output projection:     attended values, side by side [H E]
        gate and down:         gate, its activation, up, and the product of both [4 I]
        experts:               for each expert of the token the first outputs, its weight [1 in fp32] and
                               three places [3 in 64 bits]; the router's scores twice [2 E in fp32]
        every projection:      x Aᵀ [R in all]

    The frozen weights get no gradient, so the products with them keep nothing. If gate and up are computed
    again, their input is left of the MLP, and if layers are, x is left, as on the fast path.
    """
    D, b = model.hidden, model.number_bytes
    if recompute in LAYERS_AGAIN:
        return _input_bytes(D * b, load, recompute)
    norms = model.norms * D * FP32 + 2 * D * b
    if model.norms_of_heads:
        norms += (model.queries + model.keys) * FP32
    if model.keeps_scores:
        row = load.usual_row or load.longest_row
        without_tanh = FP32 + (0 if b == FP32 else b)
        score_bytes = CAPPED_BYTES if model.keeps_scores == "capped" else without_tanh
        attention = 4 * model.queries * b + row * (model.heads * score_bytes + 1)
    else:
        attention = (3 * model.queries + 2 * model.keys) * b + FP32 * model.heads
    kept = norms + attention + _for_factors(model, load) * b
    if recompute is Recompute.GATE_UP:
        return kept
    experts = model.experts
    routes = (FP32 + 3 * INDEX) * experts.chosen + 2 * FP32 * experts.count if experts else 0
    return kept + model.kept_of_mlp * b + routes


def _input_bytes(on_device: int, load: Load, recompute: Recompute) -> int:
    """Return what a layer's input takes on the device. A CPU has no other memory for it."""
    return 0 if recompute is Recompute.LAYERS_FROM_HOST and load.device == "gpu" else on_device


def _for_factors(model: ModelShape, load: Load) -> int:
    """Return how many numbers the adapters keep: x Aᵀ, and with gains the outputs that nobody else keeps."""
    outputs = model.queries + 2 * model.keys + 2 * model.hidden if load.gains else 0
    return load.ranks + outputs


def _probabilities(model: ModelShape, load: Load) -> float:
    """Return how many probabilities are kept for each token, over all heads.

    The queries of a piece of QUERY_BLOCK see the keys up to the piece's end. Pieces that see more than
    SAVED_KEYS keep nothing, so rows of this length keep most.
    """
    row = load.usual_row or min(load.longest_row, SAVED_KEYS)
    saved = 0
    for start in range(0, min(row, SAVED_KEYS), QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, row)
        saved += (end - start) * end
    return model.heads * saved / row if row else 0.0
