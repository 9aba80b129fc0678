"""What a pass needs for a while, beside what it keeps: for the head, and in the backward pass of a layer.

The letters are those of `activations.py`; T and S are the tokens and the supervised tokens of a micro-batch.
"""

from core.estimates.activations import QUERY_BLOCK, computes_by_modules
from core.estimates.adapters import FP32
from core.estimates.lanes import MAX_LANES
from core.estimates.shapes import BF16, Load, ModelShape
from core.estimates.states import recurrence_backward_bytes

CHUNK_TOKENS = 512  # tokens in one product with the head: its weights are read once for each chunk
BLOCK_TOKENS = 16  # tokens in one softmax and its gradient: their fp32 values stay in a core's cache
PART_NUMBERS = 2**20  # of a quantised weight that a CPU dequantises at once: they stay in its cache
NF4_BLOCK = 64  # numbers of a weight in nf4 that have one scale
PART_LENGTH = NF4_BLOCK  # its rows or columns are a multiple of so many: whole blocks of nf4
EXPERT_TOKENS = 2048  # tokens of which a GPU gathers all inputs of the experts at once
CAPPED_LOGITS = 4  # fp32 values of each token of a chunk and word: with a cap, its tanh too
TRAINED_LOGITS = 3  # the same of a head that is trained: logits, log-probabilities and their gradient


def part_length(across: int) -> int:
    """Return how many rows, or columns, of so many numbers each a CPU dequantises at once."""
    return max(PART_LENGTH, PART_NUMBERS // across // PART_LENGTH * PART_LENGTH)


def head_bytes(model: ModelShape, load: Load, tokens: int) -> float:
    """Return the bytes of the losses, at a time when every layer keeps its values.

    They are the logits of a chunk and its gradient, the fp32 values of a block twice, the final hidden states
    with their norm and their gradient, and of a head in 8 bits a copy, or on a CPU two parts for each lane:

        min(512, S) (V + D) b + 2 · 16 V 4 + 3 S D b (+ V D b with nf4)

    Each lane has a chunk of its own. A GPU's compiled losses hold no fp32 values, but they are counted there
    too, as they are few. Capped logits and those of a trained head are in fp32 as a whole, and computed
    again for the backward pass: `CAPPED_LOGITS` or `TRAINED_LOGITS` values. A trained head also has the
    gradients of two chunks [V D each]. The final norm of the portable path keeps x in fp32 too. It is not
    counted, because the norm of the first layer keeps nothing: its input needs no gradient.
    """
    D, V, b = model.hidden, model.vocabulary, model.number_bytes
    supervised = load.supervised * tokens
    at_once = min(load.lanes * CHUNK_TOKENS, supervised)
    trained = load.peft is not None and load.peft.trains_head
    values = max(CAPPED_LOGITS * model.caps_logits, TRAINED_LOGITS * trained)
    blocks = 0 if values else load.lanes * 2 * BLOCK_TOKENS * V * FP32
    chunks = at_once * (V * (values * FP32 or b) + D * b) + blocks
    states = 3 * supervised * D * b
    in_8_bits = model.quantization == "nf4" and not model.scales_embedding
    copy = _head_copy_bytes(model, load) if in_8_bits else 0
    return chunks + states + copy + (load.peft.at_head * V * D * b if load.peft else 0)


def mlp_backward_bytes(model: ModelShape, load: Load, tokens: float) -> float:
    """Return the bytes that the backward pass of an MLP holds beside the kept values: its largest moment.

        fast: dy [D]; then for silu(gate) up: dx, dx up, the values again [I each], and their gradient [2 I]
        portable: dy, its copy and the residual's [3 D]; dx of the product and of the updates [I each]; of a
                  square, which has no gate, its gradient too [I]

    A quantised weight is there in full meanwhile, once for each lane: the largest counts. On the fast path
    of a CPU, only two parts of it are, if it has parts.
    """
    D, inner, b = model.hidden, model.inner, model.number_bytes
    of_modules = 3 * D + (2 if model.gated else 3) * inner
    per_token = of_modules if computes_by_modules(model, load) else D + 5 * inner
    dense = tokens * per_token * b + _largest_dequantised_bytes(model, load)
    return max(dense, _experts_backward_bytes(model, load, tokens))


def _largest_dequantised_bytes(model: ModelShape, load: Load) -> float:
    if model.quantization is None:
        return 0.0
    of_each = (_dequantised_bytes(model, load, K, N) for K, N in model.projections.values())
    return load.lanes * max(of_each, default=0)


def _dequantised_bytes(model: ModelShape, load: Load, inputs: int, outputs: int) -> float:
    """Return what a product makes of a weight: its matrix or two parts of it, and the scales of nf4 in fp32.

    A part is whole blocks of nf4. Where rows end within a block, the matrix has no parts.
    """
    numbers, in_nf4 = inputs * outputs, model.quantization == "nf4"
    whole = computes_by_modules(model, load) or load.device == "gpu" or (in_nf4 and inputs % PART_LENGTH > 0)
    made = numbers if whole else _two_parts(inputs, outputs)
    return made * model.number_bytes + in_nf4 * numbers / NF4_BLOCK * FP32


def _head_copy_bytes(model: ModelShape, load: Load) -> float:
    """Return what the losses make of a head in 8 bits: on a GPU a copy, on a CPU two parts for each lane."""
    D, V = model.hidden, model.vocabulary
    return (D * V if load.device == "gpu" else load.lanes * _two_parts(D, V)) * model.number_bytes


def _two_parts(inputs: int, outputs: int) -> int:
    """Return the numbers of two parts of a weight: one that was multiplied, and the next one."""
    part = max(inputs * part_length(inputs), outputs * part_length(outputs))
    return min(inputs * outputs, 2 * part)


def _experts_backward_bytes(model: ModelShape, load: Load, tokens: float) -> float:
    """Return the same for experts: the gradients of their inputs in fp32, and what one expert needs.

    It holds the gathered inputs, outputs and gradients of its pairs: [2 D], the first outputs three times and
    the second inputs twice. Pairs are assumed to be spread evenly. Each lane of a CPU has such gradients, and
    a quantised weight, of its own. The factors B of a layer are copied expert by expert, and so are their
    gradients, which takes about as much as the layer's factors. A GPU that computes all experts at once holds
    of all pairs of some tokens the gathered gradients, inputs and their gradients [3 D], the first outputs
    and the second inputs twice.
    """
    if (experts := model.experts) is None:
        return 0
    D, b = model.hidden, model.number_bytes
    lanes = MAX_LANES if load.device == "cpu" else 1
    pairs = tokens * experts.chosen
    if _computes_in_groups(model, load):
        at_once = min(tokens, EXPERT_TOKENS) * experts.chosen
        gathered = at_once * (3 * D + experts.outputs + 2 * experts.inner) * b
    else:
        gathered = pairs / experts.count * (2 * D + 3 * experts.outputs + 2 * experts.inner) * b
    weight = D * experts.outputs * b if model.quantization else 0
    factors = 0 if load.peft else load.state.moments / (2 * FP32) / model.layers * b
    return tokens * D * 3 * b + gathered + lanes * (tokens * D * FP32 + weight) + factors


def _computes_in_groups(model: ModelShape, load: Load) -> bool:
    """Return whether all experts are computed at once (`worker/engine/kernels/experts/grouped.py`)."""
    return load.device == "gpu" and model.number_bytes == BF16 and model.quantization is None


def attention_backward_bytes(model: ModelShape, load: Load, tokens: float) -> float:
    """Return the same for attention, where the kept values of the MLP after it are free already.

    On a CPU the fast path holds the gradients of the output [H E], of q, k, v and once more of q and k, sums
    for keys and values in fp32 [2 J E], and three times the scores of a bundle of pieces, or of one piece:

        T (3 H E + 3 J E) b + 2 T J E 4 + 3 H max(256 · 256, 256 L) b,   L keys of the longest row

    Other paths hold the gradients of the output and of q, k, v twice. Where scores are kept, they also hold
    the gradients before and after the softmax of the longest row in fp32, instead of its rounded values:

        (4 + b) H L L
    """
    HE, JE, b = model.queries, model.keys, model.number_bytes
    if computes_by_modules(model, load) or load.device == "gpu":
        scores = (FP32 + b) * model.heads * load.longest_row**2 if model.keeps_scores else 0
        return tokens * (2 * HE + 2 * (HE + 2 * JE)) * b + scores
    rows = max(QUERY_BLOCK, load.longest_row)
    scores = 3 * load.lanes * model.heads * QUERY_BLOCK * rows * b
    sums = 2 * tokens * JE * FP32
    return tokens * (3 * HE + 3 * JE) * b + sums + scores


def backward_bytes(model: ModelShape, load: Load, tokens: float, at_end: float | None = None) -> float:
    """Return the most that the backward pass of a layer holds beside what all layers keep.

    `at_end` are the tokens for which it computes the MLP, if they are fewer.
    """
    of_mlp = tokens if at_end is None else at_end
    freed = of_mlp * (model.kept_of_mlp if computes_by_modules(model, load) else model.kept_of_fast_mlp)
    if model.recurrence:
        mixer = recurrence_backward_bytes(model, model.recurrence, tokens)
    else:
        mixer = attention_backward_bytes(model, load, tokens)
    return max(mlp_backward_bytes(model, load, of_mlp), mixer - freed * model.kept_bytes)


def last_backward_bytes(model: ModelShape, load: Load, tokens: float, at_end: float) -> float:
    """Return the same for the last layer, and for the norm behind it.

    transformers' norm has five values of each token in fp32 beside what it keeps, D each.
    """
    norm = tokens * 5 * model.hidden * FP32 if computes_by_modules(model, load) else 0.0
    return max(norm, backward_bytes(model, load, tokens, at_end))


def stack_bytes(model: ModelShape, load: Load) -> float:
    """Return the bytes of the stacks of A and B that a GPU keeps of a micro-batch with several adapters.

    They hold every adapter's factors once more (`worker/engine/kernels/grouped.py`). A parameter in bf16 has
    4 + b bytes of `adapter`, of which b are the factors.
    """
    if load.device == "cpu":
        return 0
    b = model.number_bytes
    return load.state.adapter * b / (FP32 + (0 if b == FP32 else b))


def evaluation_bytes(model: ModelShape, load: Load, tokens: int) -> float:
    """Return the most that a micro-batch of an evaluation holds: it keeps nothing for a backward pass.

    It is that of the widest layer, or the losses at the end. The head computes every chunk as in training,
    but forms no gradient of the hidden states.
    """
    layers = (_forward_bytes(layer, load, tokens) for layer in set(model.each_layer))
    return max(*layers, head_bytes(model, load, tokens))


def _forward_bytes(model: ModelShape, load: Load, tokens: int) -> float:
    """Return what a layer holds without a backward pass.

        T max(2 D + 2 H E + 2 J E, 2 D + 3 I) b, and the scores of a piece of attention

    A recurrence holds its convolution's values twice, and in fp32 with its outputs.
    """
    D, HE, JE, b = model.hidden, model.queries, model.keys, model.number_bytes
    experts, recurrence = model.experts, model.recurrence
    mlp: float = 2 * D + 3 * model.inner
    if experts is not None:  # the outputs of all first projections, and the sum in fp32
        mlp = 2 * D + experts.chosen * experts.outputs + D * FP32 // b
        if _computes_in_groups(model, load):  # the inputs and outputs of all pairs
            mlp += 2 * experts.chosen * D * min(tokens, EXPERT_TOKENS) / tokens
    mixer = 2 * D + 2 * HE + 2 * JE
    if recurrence is not None:
        mixer = 2 * D + 2 * recurrence.convolved + (recurrence.convolved + recurrence.values) * FP32 // b
    layer = tokens * max(mixer, mlp) * b
    if load.device == "cpu" and not computes_by_modules(model, load):
        layer += load.lanes * model.heads * QUERY_BLOCK * max(QUERY_BLOCK, load.longest_row) * b
    if model.keeps_scores and computes_by_modules(model, load):  # before the softmax, in fp32 and after it
        layer += (2 * FP32 + b) * model.heads * load.longest_row**2
    return layer + _largest_dequantised_bytes(model, load)
