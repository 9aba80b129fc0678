"""What a layer keeps of each token for the backward pass.

D is the hidden width, I the inner one, H E and J E those of queries and of keys or values, P that of a
layer's own input, R the ranks of all adapted projections. b is the bytes of a number.
"""

from core.estimates.adapters import FP32
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import Load, ModelShape
from core.estimates.states import kept_of_recurrence

# Queries whose scores are one product at most: few enough to waste little work above the diagonal, and enough
# for an efficient product
QUERY_BLOCK = 256
SAVED_KEYS = 1024  # probabilities over more keys are not kept for the backward pass
INDEX = 8  # bytes of a place on an axis
CAPPED_BYTES = 8  # fp32: tanh 4 + softmax 4; bf16: tanh 2 + softmax 4 + its rounded values 2
LAYERS_AGAIN = (Recompute.LAYERS, Recompute.LAYERS_FROM_HOST)


def kept_bytes(model: ModelShape, load: Load, recompute: Recompute = Recompute.NONE) -> float:
    """Return the bytes for each token that one layer keeps. The last layer always keeps all.

    The model is that of one layer (`ModelShape.each_layer`).
    """
    if computes_by_modules(model, load):
        return _kept_by_modules(model, load, recompute)
    return _kept_by_kernels(model, load, recompute)


def computes_by_modules(model: ModelShape, load: Load) -> bool:
    """Return whether transformers' modules compute the layers."""
    return model.path == "portable" or load.peft is not None


def _kept_by_kernels(model: ModelShape, load: Load, recompute: Recompute) -> float:
    """Return what `projection.py` and `attention.py` of `worker/engine/kernels` save on the fast path.

        norm and q, k, v:      x [D], 1/rms [1 in fp32]; on a GPU with grouped products the norm's values too
        attention on a CPU:    queries [H E], keys and values [2 J E], probabilities
        attention on a GPU:    q, k, v [H E + 2 J E], the output [H E], the sums' logarithm [H in fp32]
        output projection:     attended values [H E]
        norm and gate, up:     as norm and q, k, v
        gate and down:         gate and up [2 I]
        norms of heads:        q, k, v [H E + 2 J E], 1/rms of each head [H + J in fp32]
        experts:               the norm's values [D], for a shared expert once more if they wait in bf16; for
                               each expert of the token the outputs of gate and up [2 I], and its route
        other norms:           x [D], 1/rms
        the layer's own input: x [D]; the gate, its values, their product with the input [3 P]; a norm
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
    own_input = (2 * D + 3 * model.own_input) * b + FP32 if model.own_input else 0
    kept = norms + attention + model.queries * b + own_input + _for_factors(model, load) * b
    if recompute is Recompute.GATE_UP:
        return kept - (0 if on_cpu else D * b) - own_input
    return kept + model.kept_of_fast_mlp * b + _for_experts(model, on_cpu)


def _for_experts(model: ModelShape, on_cpu: bool) -> int:
    """Return what experts keep beside the outputs of gate and up. A GPU's norms keep their values anyway."""
    if (experts := model.experts) is None:
        return 0
    copies = on_cpu + (experts.shared_inner > 0 and model.saves_in_bf16)
    return copies * model.hidden * model.kept_bytes + _routes_bytes(model)


def _routes_bytes(model: ModelShape) -> int:
    """Return the bytes of a token's routes to its experts, with the router's scores."""
    experts = model.experts
    return (FP32 + 3 * INDEX) * experts.chosen + 2 * FP32 * experts.count if experts else 0


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
        q, k, v; gate, up:     the norm's values [D], for the updates; so for experts beside an MLP
        norms of heads:        queries and keys in fp32 [H E + J E], values too if they have a norm [J E]
        attention:             rotated queries [H E], keys and values [2 J E], the output [H E], [H in fp32]
        attention that keeps   rotated queries, and keys and values for each query head [3 H E]; the mask [L],
        its scores:            and the tanh, the softmax in fp32 and its rounded values [H L each]
        gated attention:       the gate's sigmoid and the product with it [2 H E]; in fp32 the gate [H E]
        output projection:     attended values, side by side [H E]
        gate and down:         gate, its activation, up, and the product of both [4 I]
        experts:               for each expert of the token the first outputs, its weight [1 in fp32] and
                               three places [3 in 64 bits]; the router's scores twice [2 E in fp32]
        a gated shared expert: its output [D]
        the layer's own input: x [D]; the gate, its values and their product [3 P], a norm
        every projection:      x Aᵀ [R in all]

    The frozen weights get no gradient, so the products with them keep nothing. If gate and up are computed
    again, their input is left of the MLP, and if layers are, x is left, as on the fast path. `states.py` has
    what recurrences keep.
    """
    D, b = model.hidden, model.number_bytes
    if recompute in LAYERS_AGAIN:
        return _input_bytes(D * b, load, recompute)
    kept = _kept_of_norms(model) + _kept_of_attention(model, load) + _for_factors(model, load) * b
    if model.recurrence:
        kept += kept_of_recurrence(model, model.recurrence, load)
    if model.own_input:
        kept += (D + 3 * model.own_input) * b + D * FP32
    if load.peft:  # PEFT's layers keep their inputs in fp32 instead, and other layers keep none
        kept += load.peft.inputs * FP32 - (model.blocks * D + model.queries + model.inner) * b
    experts, again = model.experts, recompute is Recompute.GATE_UP and model.has_mlp_module
    if again and not (experts and experts.beside_mlp):
        return kept
    of_dense = 4 * model.inner * b if again else 0
    gated = D * b if experts and experts.gates_shared else 0
    return kept + model.kept_of_mlp * b - of_dense + _routes_bytes(model) + gated


def _kept_of_norms(model: ModelShape) -> float:
    """Return what norms keep of a token. In fp32, three norms of Gemma 4's experts have one input."""
    D, b = model.hidden, model.number_bytes
    beside = model.experts is not None and model.experts.beside_mlp
    inputs = model.norms - (2 if beside and b == FP32 else 0)
    heads = 0
    if model.norms_of_heads:
        heads = model.queries + model.own_keys // 2
    if model.norms_of_values and b != FP32:
        heads += model.keys if model.keys_are != "borrowed" else 0
    return inputs * D * FP32 + model.blocks * D * b + heads * FP32


def _kept_of_attention(model: ModelShape, load: Load) -> float:
    if not model.heads:
        return 0
    b = model.number_bytes
    if model.keeps_scores:
        row = load.usual_row or load.longest_row
        without_tanh = FP32 + (0 if b == FP32 else b)
        score_bytes = CAPPED_BYTES if model.keeps_scores == "capped" else without_tanh
        return 4 * model.queries * b + row * (model.heads * score_bytes + 1)
    keys = 0 if model.keys_are == "borrowed" else 2 * model.keys
    gate = (2 if b != FP32 else 3) * model.queries if model.gates_output else 0
    return (3 * model.queries + keys + gate) * b + FP32 * model.heads


def once_bytes(model: ModelShape, load: Load, tokens: float) -> float:
    """Return the bytes of what all layers share, which exists during the whole pass.

    Of all layers' own inputs, W = L P in all, it is their sum with the embeddings [W], what their norm reads
    [W, on the portable path in fp32], and the first hidden states [D]. On a CPU the fast path has rotations
    and masks in fp32 once for each kind of attention: of the last keys of each piece, about half as counted.
    """
    b, width, by_modules = model.number_bytes, model.own_width, computes_by_modules(model, load)
    own_inputs = width * (b + (FP32 if by_modules else b)) + model.hidden * b if width else 0
    if by_modules or load.device == "gpu":
        return tokens * own_inputs
    group = model.heads // model.key_heads
    mask = group * min(QUERY_BLOCK, load.usual_row or load.longest_row) / 2
    return tokens * (own_inputs + model.layouts * (mask + 3 * model.head_size) * FP32)


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
