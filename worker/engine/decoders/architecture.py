"""The table of features in which layers of the fast path differ, read from transformers' modules.

A layer is attention and then a gated MLP, and each adds its values to the layer's input. All else is read:
where the layer has norms, its biases, windows and rotations, its gate, and the factors of what it adds.
Nothing depends on an architecture's name. What is not in the table raises `UnknownFeature`, and so does a
parameter that nothing here reads. `base/miniature.py` then tries out whether the table was read rightly.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.kernels.attention import Heads
from worker.engine.kernels.elementwise import GELU, SILU, Activation
from worker.engine.kernels.rotation import Pairs

# Projections that read the same input, by the names that transformers and PEFT give them. Some architectures
# have them merged already.
GROUPS = {
    "qkv": (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.qkv_proj",)),
    "out": (("self_attn.o_proj",),),
    "gate_up": (("mlp.gate_proj", "mlp.up_proj"), ("mlp.gate_up_proj",), ("shared_mlp.input_linear",)),
    "down": (("mlp.down_proj",), ("shared_mlp.output_linear",)),
}
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
NORMS_OF_HEADS = ("self_attn.q_norm", "self_attn.k_norm")
NORMS = ("layernorm", "_norm")  # the ends of their names
ACTIVATIONS = ("act_fn", "activation_fn", "activation")
UNROTATED = "unrotated"


class UnknownFeature(Exception):
    """The fast path does not compute something that the model has. The text says what."""


@dataclass(frozen=True)
class AttentionKind:
    """What the layers of one kind share.

    `window` is the number of positions that a token sees, itself included; None for all. `rotation` is the
    name of the kind's rotation in a model with several, UNROTATED for none, and else None. A `softcap` bounds
    the scores.
    """

    window: int | None
    rotation: str | None = None
    softcap: float | None = None


@dataclass(frozen=True)
class Norms:
    """The weights of a layer's norms; None for a norm that it has not.

    `heads_HE` are those of queries and keys, for each query head and then for each key head. `queries_N` and
    `keys_N` stand in their place if queries and keys are normed over all heads at once.
    """

    before_attention_D: Tensor | None
    after_attention_D: Tensor | None
    before_mlp_D: Tensor | None
    after_mlp_D: Tensor | None
    heads_HE: Tensor | None = None
    queries_N: Tensor | None = None
    keys_N: Tensor | None = None

    @classmethod
    def of(cls, layer: nn.Module, heads: Heads) -> "Norms":
        """Read them from a layer of transformers."""
        named = norms_of(layer)
        around = [None if name is None else norm_weight(named[name]) for name in _places(named)]
        if not set(NORMS_OF_HEADS) <= set(named):
            return cls(*around)
        q, k = (norm_weight(named[name]) for name in NORMS_OF_HEADS)
        if len(q) == len(k) == heads.size:
            return cls(*around, heads_HE=torch.cat([q.expand(heads.query, -1), k.expand(heads.key, -1)]))
        return cls(*around, queries_N=q, keys_N=k)


def groups_of(layer: nn.Module) -> Mapping[str, Sequence[str]]:
    """Return the modules that read the same input, by the name of their group."""
    modules = {name for name, _ in layer.named_modules()}
    found = {
        key: next((names for names in forms if modules.issuperset(names)), None)
        for key, forms in GROUPS.items()
    }
    if missing := [forms[0][0] for key, forms in GROUPS.items() if found[key] is None]:
        raise UnknownFeature(f"its layers have no {missing[0]}")
    return {key: names for key, names in found.items() if names is not None}


def norms_of(layer: nn.Module) -> dict[str, nn.Module]:
    """Return the layer's norms, by name."""
    return {name: module for name, module in layer.named_modules() if name.endswith(NORMS)}


def refuse_unknown_parameters(body: Any) -> None:
    """Raise UnknownFeature if the text model holds a number that no part of the fast path reads."""
    read = {"embed_tokens", "norm"}
    for number, layer in enumerate(body.layers):
        names = (*(each for names in groups_of(layer).values() for each in names), *norms_of(layer))
        read |= {f"layers.{number}.{name}" for name in names}
    for name, _ in (*body.named_parameters(), *body.named_buffers()):
        if name.rpartition(".")[0] not in read and not name.startswith("rotary_emb."):
            raise UnknownFeature(f"it has {name}")


def heads_of(layer: Any, config: Any) -> Heads:
    """Return the numbers and the size of the layer's heads."""
    return Heads(config.num_attention_heads, config.num_key_value_heads, layer.self_attn.head_dim)


def attention_kind(layer: Any, config: Any, rotary: Any) -> AttentionKind:
    """Return the kind of a layer's attention."""
    attention = layer.self_attn
    types = getattr(config, "layer_types", None)
    own = None if types is None else types[attention.layer_idx]
    if hasattr(attention, "sliding_window"):
        window = attention.sliding_window
    else:
        window = getattr(config, "sliding_window", None) if own in (None, "sliding_attention") else None
    softcap = getattr(attention, "attn_logit_softcapping", None)
    if rotary is None or not getattr(attention, "use_rope", True):
        return AttentionKind(window or None, UNROTATED, softcap)
    several = isinstance(getattr(rotary, "rope_type", None), Mapping)
    return AttentionKind(window or None, own if several else None, softcap)


def pairs_of(layer: Any, heads: Heads, count: int) -> Pairs:
    """Return which of a head's numbers are rotated together, by trying out the function of transformers.

    `count` is the number of cosines that transformers computes for a head.
    """
    rotate = getattr(sys.modules[type(layer.self_attn).__module__], "apply_rotary_pos_emb", None)
    generator = torch.Generator().manual_seed(0)
    x_THE = torch.randn(1, 1, heads.size, generator=generator)
    cos_TC, sin_TC = torch.randn(2, 1, count // 2, generator=generator).repeat(1, 1, 2)
    try:
        found = rotate(x_THE[None], x_THE[None], cos_TC[None], sin_TC[None])[0][0]  # type: ignore[misc]
    except (TypeError, RuntimeError):  # another function, or none
        found = None
    for pairs in (Pairs(count), Pairs(count, interleaved=True)):
        expected = pairs.rotated(x_THE, *pairs.spread(cos_TC, sin_TC, heads.size))
        if found is not None and found.shape == expected.shape and torch.allclose(found, expected):
            return pairs
    raise UnknownFeature("it rotates queries and keys in an unknown way")


def query_scale(config: Any, positions_T: Tensor) -> Tensor | None:
    """Return the factors of the queries, [T, 1], that grow with their positions; None for none (Llama 4)."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if not (beta := parameters.get("llama_4_scaling_beta")):
        return None
    times = torch.floor(positions_T / parameters["original_max_position_embeddings"])
    return (1 + beta * torch.log1p(times))[:, None]


def activation_of(layer: nn.Module) -> Activation:
    """Return the gate's function, by trying out the module."""
    mlp = layer.get_submodule(groups_of(layer)["down"][0].rpartition(".")[0])
    function = next((found for name in ACTIVATIONS if (found := getattr(mlp, name, None))), None)
    x_I = torch.linspace(-4, 4, 65)
    for activation in (SILU, GELU):
        if function is not None and torch.allclose(function(x_I), activation.values(x_I), atol=1e-5):
            return activation
    raise UnknownFeature(f"its gate is {type(function).__name__}")


def embedding_scale(embedding: Any) -> float:
    """Return the factor of each token's embedding. Gemma rounds it to the weight's type."""
    scale: Tensor | None = getattr(embedding, "embed_scale", None)
    return 1.0 if scale is None else scale.to(embedding.weight.dtype).item()


@torch.no_grad()
def norm_weight(norm: Any) -> Tensor:
    """Return what a norm multiplies with: its weight, or in Gemma 1 + weight, in fp32."""
    weight: Tensor = norm.weight
    found = norm(torch.ones_like(weight, dtype=torch.float32))  # all ones are normed to themselves
    for factor in (weight, 1 + weight.float()):
        if torch.allclose(found.float(), factor.float(), rtol=0.02, atol=1e-4):
            return factor
    raise UnknownFeature(f"its {type(norm).__name__} is no RMS norm")


def eps_of(norms: Iterable[Any]) -> float:
    """Return the number that all norms add to the mean of squares."""
    found = {getattr(norm, "variance_epsilon", getattr(norm, "eps", None)) for norm in norms}
    if len(found) != 1 or None in found:
        raise UnknownFeature("its norms add different numbers to the mean of squares")
    return float(found.pop())


def _places(named: Mapping[str, nn.Module]) -> Sequence[str | None]:
    around = {name for name in named if name not in NORMS_OF_HEADS}
    for places in PLACES:
        if around == {name for name in places if name is not None}:
            return places
    raise UnknownFeature(f"its layers have the norms {', '.join(sorted(around))}")
