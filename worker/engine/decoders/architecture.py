"""The table of features in which layers of the fast path differ, read from transformers' modules.

A layer is attention and then a gated MLP or experts, and each adds its values to the layer's input. All else
is read: where the layer has norms, its biases, windows and rotations, its gate, the experts' router and a
shared expert beside them, and the factors of what it adds.
Nothing depends on an architecture's name. What is not in the table raises `UnknownFeature`, and so does a
parameter that nothing here reads. `base/miniature.py` then tries out whether the table was read rightly.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from worker.engine.kernels.attention import Heads
from worker.engine.kernels.elementwise import GELU, SILU, Activation
from worker.engine.kernels.experts.modules import is_experts
from worker.engine.kernels.rotation import Pairs

# Projections that read the same input, by the names that transformers and PEFT give them. Some architectures
# have them merged already.
GROUPS = {
    "qkv": (
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.qkv_proj",),
        ("self_attn.q_proj", "self_attn.k_proj"),  # the keys are the values too
        ("self_attn.q_proj",),  # keys and values are those of an earlier layer
    ),
    "out": (("self_attn.o_proj",),),
    "gate_up": (
        ("mlp.gate_proj", "mlp.up_proj"),
        ("mlp.gate_up_proj",),
        ("shared_mlp.input_linear",),
        ("mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"),
    ),
    "down": (("mlp.down_proj",), ("shared_mlp.output_linear",), ("mlp.shared_experts.down_proj",)),
}
OF_MLP = ("gate_up", "down")  # in a layer of experts these are a shared expert, which it need not have
EXPERTS = "mlp.experts"
ROUTERS = ("mlp.gate", "mlp.router")
# Projections of an input that a layer has beside the hidden states
OF_OWN_INPUT = {"own_gate": ("per_layer_input_gate",), "own_out": ("per_layer_projection",)}
# The names of a layer's norms: before attention, after it, before the MLP, after it
PLACES = (
    ("input_layernorm", None, "post_attention_layernorm", None),
    (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
    (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
    ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
)
NORMS_OF_HEADS = ("self_attn.q_norm", "self_attn.k_norm", "self_attn.v_norm")
AFTER_OWN_INPUT = "post_per_layer_input_norm"
BESIDE_LAYERS = (  # of a text model: modules with numbers that the fast path reads
    *("embed_tokens", "norm", "embed_tokens_per_layer"),
    *("per_layer_model_projection", "per_layer_projection_norm"),
)
SCALAR = "layer_scalar"
SINKS = "sinks"
NORMS = ("layernorm", "_norm")  # the ends of their names
ACTIVATIONS = ("act_fn", "activation_fn", "activation")
UNROTATED = "unrotated"


class UnknownFeature(Exception):
    """The fast path does not compute something that the model has. The text says what."""


@dataclass(frozen=True)
class AttentionKind:
    """What the layers of one kind share.

    `heads` are their numbers and size. `window` is the number of positions that a token sees, itself
    included; None for all. `rotation` is the name of the kind's rotation in a model with several, UNROTATED
    for none, and else None. A `softcap` bounds the scores.
    """

    heads: Heads
    window: int | None
    rotation: str | None = None
    softcap: float | None = None


@dataclass(frozen=True)
class Norms:
    """The weights of a layer's norms; None for a norm that it has not.

    `heads_HE` are those of queries, keys and values, as far as they have norms, for each of their heads.
    `queries_N` and `keys_N` stand in their place if queries and keys are normed over all heads at once.
    """

    before_attention_D: Tensor | None
    after_attention_D: Tensor | None
    before_mlp_D: Tensor | None
    after_mlp_D: Tensor | None
    after_own_input_D: Tensor | None = None
    heads_HE: Tensor | None = None
    queries_N: Tensor | None = None
    keys_N: Tensor | None = None

    @classmethod
    def of(cls, layer: nn.Module, heads: Heads) -> "Norms":
        """Read them from a layer of transformers."""
        named = norms_of(layer)
        places = (*_places(named), AFTER_OWN_INPUT if AFTER_OWN_INPUT in named else None)
        around = cls(*(None if name is None else norm_weight(named[name]) for name in places))
        of_heads = [norm_weight(named[name]) for name in NORMS_OF_HEADS if name in named]
        if not of_heads:
            return around
        if all(weight.numel() in (1, heads.size) for weight in of_heads):
            counts = (heads.query, heads.key, heads.key)
            q = of_heads[0]
            rows = [w.to(q).expand(count, heads.size) for w, count in zip(of_heads, counts, strict=False)]
            return replace(around, heads_HE=torch.cat(rows))
        queries_N, keys_N = of_heads
        return replace(around, queries_N=queries_N, keys_N=keys_N)


def groups_of(layer: nn.Module) -> Mapping[str, Sequence[str]]:
    """Return the modules that read the same input, by the name of their group."""
    modules = {name for name, _ in layer.named_modules()}
    found = {
        key: next((names for names in forms if modules.issuperset(names)), None)
        for key, forms in GROUPS.items()
    }
    needed = [key for key in GROUPS if key not in OF_MLP or routed_of(layer) is None]
    if missing := [GROUPS[key][0][0] for key in needed if found[key] is None]:
        raise UnknownFeature(f"its layers have no {missing[0]}")
    own = {key: names for key, names in OF_OWN_INPUT.items() if modules.issuperset(names)}
    return {key: names for key, names in found.items() if names is not None} | own


def routed_of(layer: nn.Module) -> tuple[str, str] | None:
    """Return the names of a router and of the experts in the MLP's place; None if the layer has none."""
    modules = dict(layer.named_modules())
    router, experts = next((name for name in ROUTERS if name in modules), None), modules.get(EXPERTS)
    return None if router is None or experts is None or not is_experts(experts) else (router, EXPERTS)


def norms_of(layer: nn.Module) -> dict[str, nn.Module]:
    """Return the layer's norms, by name."""
    return {name: module for name, module in layer.named_modules() if name.endswith(NORMS)}


def refuse_unknown_parameters(body: Any) -> None:
    """Raise UnknownFeature if the text model holds a number that no part of the fast path reads."""
    read = set(BESIDE_LAYERS)
    for number, layer in enumerate(body.layers):
        projections = (each for names in groups_of(layer).values() for each in names)
        names = (*projections, *norms_of(layer), *(routed_of(layer) or ()))
        read |= {f"layers.{number}.{name}" for name in names}
    for name, _ in (*body.named_parameters(), *body.named_buffers()):
        module, _, own = name.rpartition(".")
        if module not in read and module != "rotary_emb" and own not in (SCALAR, SINKS):
            raise UnknownFeature(f"it has {name}")


def heads_of(layer: Any, config: Any) -> Heads:
    """Return the numbers and the size of the layer's heads."""
    attention = layer.self_attn
    queries = config.num_attention_heads
    return Heads(queries, queries // attention.num_key_value_groups, attention.head_dim)


def attention_kind(layer: Any, config: Any, rotary: Any) -> AttentionKind:
    """Return the kind of a layer's attention."""
    attention = layer.self_attn
    types = getattr(config, "layer_types", None)
    own = None if types is None else types[attention.layer_idx]
    if hasattr(attention, "sliding_window"):
        window = attention.sliding_window
    else:
        window = getattr(config, "sliding_window", None) if own in (None, "sliding_attention") else None
    softcap, heads = getattr(attention, "attn_logit_softcapping", None), heads_of(layer, config)
    if rotary is None or not getattr(attention, "use_rope", True):
        return AttentionKind(heads, window or None, UNROTATED, softcap)
    several = isinstance(getattr(rotary, "rope_type", None), Mapping)
    return AttentionKind(heads, window or None, own if several else None, softcap)


def pairs_of(layer: Any, heads: Heads, count: int) -> Pairs:
    """Return which of a head's numbers are rotated together, by trying out the function of transformers.

    `count` is the number of cosines that transformers computes for a head.
    """
    rotate = getattr(sys.modules[type(layer.self_attn).__module__], "apply_rotary_pos_emb", None)
    with trying_out():
        x_THE = torch.linspace(-1, 2, heads.size)[None, None]
        for times in (2, 1):  # so often transformers computes each pair's cosine
            number = count // times
            cos_TC, sin_TC = (torch.linspace(*ends, number).repeat(1, times) for ends in ((1, 2), (3, 5)))
            found = _rotated_by(rotate, x_THE[None], cos_TC[None], sin_TC[None])
            for pairs in (Pairs(2 * number), Pairs(2 * number, interleaved=True)):
                if found is None or pairs.count > heads.size:
                    continue
                expected = pairs.rotated(x_THE, *pairs.spread(cos_TC, sin_TC, heads.size))
                if found.shape == expected.shape and torch.allclose(found, expected):
                    return pairs
    raise UnknownFeature("it rotates queries and keys in an unknown way")


def _rotated_by(rotate: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor | None:
    """Return what transformers' function makes of x, which it takes twice, for queries and keys, or once."""
    for heads in ((x, x), (x,)):
        try:
            found = rotate(*heads, cos, sin)
        except (TypeError, RuntimeError):
            continue
        return found[0] if len(heads) == 1 else found[0][0]
    return None


def query_scale(config: Any, positions_T: Tensor) -> Tensor | None:
    """Return the factors of the queries, [T, 1], that grow with their positions; None for none (Llama 4)."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if not (beta := parameters.get("llama_4_scaling_beta")):
        return None
    times = torch.floor(positions_T / parameters["original_max_position_embeddings"])
    return (1 + beta * torch.log1p(times))[:, None]


def activation_of(layer: nn.Module) -> Activation:
    """Return the gate's function, by trying out the module. Experts have gates of their own."""
    if (down := groups_of(layer).get("down")) is None:
        return SILU
    mlp = layer.get_submodule(down[0].rpartition(".")[0])
    function = next((found for name in ACTIVATIONS if (found := getattr(mlp, name, None))), None)
    with trying_out():
        x_I = torch.linspace(-4, 4, 65)
        for activation in (SILU, GELU):
            if function is not None and torch.allclose(function(x_I), activation.values(x_I), atol=1e-5):
                return activation
    raise UnknownFeature(f"its gate is {type(function).__name__}")


def embedding_scale(embedding: Any) -> float:
    """Return the factor of each token's embedding. Gemma rounds it to the weight's type."""
    scale: Tensor | None = getattr(embedding, "embed_scale", None)
    return 1.0 if scale is None else scale.to(embedding.weight.dtype).item()


def norm_weight(norm: Any) -> Tensor:
    """Return what a norm multiplies with: its weight, or in Gemma 1 + weight, in fp32; [1] for no weight."""
    kind: Any = type(norm)
    adds = _adds_to_weight(kind)
    weight: Tensor | None = getattr(norm, "weight", None)
    if weight is None:
        return torch.ones(1)
    return weight if adds == 0 else 1 + weight.float()


@cache
def _adds_to_weight(kind: Callable[[int], Any]) -> int:
    """Return what norms of a class add to their weights: 0 or 1. A norm is tried out."""
    with trying_out():
        norm = kind(2)
        if hasattr(norm, "weight"):
            norm.weight.fill_(3)
            found = norm(torch.ones(1, 2)) - 3  # all ones are normed to themselves
        else:
            found = norm(torch.ones(1, 2)) - 1
        for adds in (0, 1):
            if torch.allclose(found, torch.full_like(found, adds), atol=1e-2):
                return adds
    raise UnknownFeature(f"its {getattr(kind, '__name__', kind)} is no RMS norm")


@contextmanager
def trying_out() -> Iterator[None]:
    """Compute numbers on the CPU inside, also where tensors have none, as in torch's accounting of memory."""
    with unset_fake_temporarily(), torch.device("cpu"), torch.no_grad():
        yield


def eps_of(norms: Iterable[Any]) -> float:
    """Return the number that all norms add to the mean of squares."""
    found = {getattr(norm, "variance_epsilon", getattr(norm, "eps", None)) for norm in norms}
    eps = found.pop()
    if found or eps is None:
        raise UnknownFeature("its norms add different numbers to the mean of squares")
    return float(eps)


def _places(named: Mapping[str, nn.Module]) -> Sequence[str | None]:
    around = {name for name in named if name not in (*NORMS_OF_HEADS, AFTER_OWN_INPUT)}
    for places in PLACES:
        if around == {name for name in places if name is not None}:
            return places
    raise UnknownFeature(f"its layers have the norms {', '.join(sorted(around))}")
