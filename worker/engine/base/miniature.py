"""A miniature of a model, on which the fast path must compute the same as transformers.

The fast path reads a model's features from its modules (`decoders/architecture.py`). It could overlook one
that is neither a module nor a parameter: a factor, a cap, another mask. So the model's own class is built
again with all options and layers of the real one, but narrow, with random weights and in fp32. There nothing
is lost in rounding, and no part of a block is too small to matter. Each layer gets the input that it has in
transformers, so that no difference of one layer grows in the others.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from core.estimates.configuration import TOWERS
from core.estimates.layers.table import CHOSEN, EXPERTS
from worker.engine.base.trial import SHORT_WINDOW, WINDOWS, difference, trial_batch
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.decoders.architecture import UnknownFeature, refuse_unknown_parameters
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import capped_logits
from worker.engine.decoders.portable import body_of, row_axes
from worker.engine.kernels.operations import ON_CPU

HEAD_SIZE, INNER, WORDS = 16, 64, 256
EXPERT_INNER = 16  # narrower than an MLP: a layer has many experts
HEADS = ("num_attention_heads", "num_key_value_heads")
MOST_PARAMETERS = 200_000_000
SPREAD = 4.0  # of the outputs of a random projection: scores so large that a softmax is far from even
TOLERANCE = 1e-4
TRIES = 2  # with experts: rounding may choose another one where two score almost alike
CPU = torch.device("cpu")


@torch.no_grad()
def why_not_fast(model: nn.Module, max_length: int) -> str | None:
    """Return why the fast path would not compute the same as transformers; None if it would.

    `max_length` is the most tokens of a row: some rotations change behind a length.
    """
    try:
        found: str | None = None
        for seed in range(TRIES):
            miniature = _miniature(model, seed)
            refuse_unknown_parameters(body_of(miniature))
            decoder = Decoder(miniature, ON_CPU)
            found = _first_difference(miniature, decoder, max_length)
            if found is None or not decoder.experts:
                break
        return found
    except UnknownFeature as unknown:
        return str(unknown)
    except Exception as error:  # any kind: it is foreign code, with sizes that it may not be written for
        return f"the fast path does not know its modules ({type(error).__name__}: {error})"


def _miniature(model: Any, seed: int) -> Any:
    """Return the same class with narrow layers and random weights."""
    config = narrow(model.config)
    with torch.random.fork_rng(devices=()), torch.device("meta"):
        count = sum(parameter.numel() for parameter in type(model)(config).parameters())
    if count > MOST_PARAMETERS:
        raise UnknownFeature(f"no miniature of {type(model).__name__} could be made")
    with torch.random.fork_rng(devices=()), CPU:  # transformers draws the first weights
        miniature = type(model)._from_config(config, attn_implementation="eager", dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for name, values in miniature.state_dict().items():
        drawn = torch.randn(values.shape, generator=generator)
        if values.dim() < 2:  # biases, which start at zero, and weights of norms, which are all alike
            values.add_(drawn, alpha=0.3)
        else:
            values.copy_(drawn * (1 if "embed" in name else SPREAD / sqrt(values.shape[-1])))
    return miniature.eval()


def narrow(config: Any) -> Any:
    """Return the configuration with few numbers in everything whose size is no feature."""
    whole = copy.deepcopy(config)
    for name in TOWERS:
        if (tower := getattr(whole, name, None)) is not None:
            tower.num_hidden_layers = tower.depth = 1
    small = whole.get_text_config()
    apart = _differing(small)
    parts = [vars(small), *apart]
    fewer = _divisor([part[name] for part in parts for name in HEADS if name in part])
    for part in parts:
        part |= {name: part[name] // fewer for name in HEADS if name in part}
    for layer in apart:
        layer |= {"head_dim": 2 * HEAD_SIZE} if "head_dim" in layer else {}
    small.head_dim = HEAD_SIZE
    small.hidden_size = small.num_attention_heads * HEAD_SIZE
    small.intermediate_size = small.shared_intermediate_size = INNER
    _have_fewer_experts(vars(small))
    small.vocab_size = small.vocab_size_per_layer_input = WORDS
    small.pad_token_id = 0
    for name in WINDOWS:
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, SHORT_WINDOW)
    for rotation in _rotations(small):
        pairs = int(HEAD_SIZE * rotation.get("partial_rotary_factor", 1)) // 2
        rotation.update({name: each[:pairs] for name, each in rotation.items() if isinstance(each, list)})
    return whole


def _have_fewer_experts(fields: dict[str, Any]) -> None:
    """Leave twice as many narrow experts as a token takes, in each of the groups that some routers have."""
    chosen = next((fields[name] for name in CHOSEN if fields.get(name)), None)
    for name in EXPERTS:
        if chosen and fields.get(name):
            fields[name] = min(fields[name], 2 * chosen * (fields.get("n_group") or 1))
    if fields.get("moe_intermediate_size"):
        fields["moe_intermediate_size"] = EXPERT_INNER


def _differing(config: Any) -> list[dict[str, Any]]:
    """Return what transformers keeps of the layers whose sizes differ from those of the others."""
    found = vars(config).get("_heterogeneity_spec")
    return [] if found is None else list(found.per_layer_overrides.values())


def _divisor(heads: Sequence[int]) -> int:
    """Return the largest number by which all numbers of heads are divisible, so that two of each are left."""
    most = max(1, min(heads) // 2)
    return max(each for each in range(1, most + 1) if not any(count % each for count in heads))


def _rotations(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each rotation of a model that has one, or one for each type of layers."""
    parameters = getattr(config, "rope_parameters", None) or {}
    yield parameters
    yield from (each for each in parameters.values() if isinstance(each, dict))


def _first_difference(miniature: Any, decoder: Decoder, max_length: int) -> str | None:
    """Return the first part in which the fast path and transformers differ; None if they do not."""
    batch = trial_batch(WORDS, max_length, CPU)
    states, logits_TV = _by_transformers(miniature, batch)
    one = decoder.begin(batch, states[0], {})
    if _differs(decoder.embedded(batch.tokens_T), states[0]):
        return "the fast path computes other embeddings than transformers"
    for number, layer in enumerate(decoder.layers[:-1]):
        if _differs(layer.forward(states[number], one), states[number + 1]):
            return f"the fast path computes layer {number} in another way than transformers"
    x_TD = decoder.layers[-1].forward_at(batch.supervised_S, states[-1], one, one.on_axis)
    found_TV = capped_logits(decoder.final(x_TD), decoder.head_weight, decoder.softcap)
    if _differs(found_TV, logits_TV):
        return "the fast path computes the last layer or the head in another way than transformers"
    return None


def _differs(found: Tensor, expected: Tensor) -> bool:
    return not difference(found, expected) <= TOLERANCE  # also if something is not a number


def _by_transformers(model: Any, batch: MicroBatch) -> tuple[Sequence[Tensor], Tensor]:
    """Return each layer's input, [T, D], and the logits, [T, V], of the rows, each of which runs alone."""
    states: list[Tensor] = []
    logits_TV = torch.empty(len(batch.tokens_T), WORDS)
    for _, axis_L in row_axes(batch.segments, CPU):
        row = {"input_ids": batch.tokens_T[axis_L][None], "position_ids": batch.positions_T[axis_L][None]}
        with _recorded_inputs(body_of(model)) as inputs:
            logits_TV[axis_L] = model(**row, use_cache=False).logits[0].float()
        states = states or [each.new_empty(len(batch.tokens_T), each.shape[-1]) for each in inputs]
        for state_TD, input_LD in zip(states, inputs, strict=True):
            state_TD[axis_L] = input_LD
    return states, logits_TV


@contextmanager
def _recorded_inputs(body: Any) -> Iterator[list[Tensor]]:
    """Record the input of each layer, [L, D], in their order."""
    inputs: list[Tensor] = []

    def record(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        inputs.append((args[0] if args else kwargs["hidden_states"])[0])

    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in body.layers]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
