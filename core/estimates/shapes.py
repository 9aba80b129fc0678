"""What the memory of a training follows from: a base model, its jobs and its device, as plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from math import ceil
from typing import Any, Literal

from core.estimates.adapters import FP32, ExpertShape, Shapes, StateBytes, ranks_of, state_bytes
from core.estimates.layers.shape import LayerOfExperts, LayerShape
from core.methods.low_rank import LoraAdapter, LowRankAdapter

BF16 = 2  # bytes of a number

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, kw_only=True)
class ModelShape(LayerShape):
    """A base model, in the letters of the engine's axes: D and V beside those of a layer.

    It is also the shape of each of its layers, if all are alike. A model of another kind is described by the
    nearest one: GPT-2 has no gate, but it is counted.
    """

    layers: int
    hidden: int
    vocabulary: int
    tied: bool
    differing: tuple[LayerShape, ...] = ()
    """The layers one by one, if they are not alike."""
    names: tuple[tuple[str, str], ...] = ()
    """Beginnings of modules' names in a layer: Llama's, and the model's own in their place."""
    number_bytes: int = BF16
    """Bytes of a number that the model computes with: 2 in bf16, 4 in fp32."""
    quantization: Literal["nf4", "int8"] | None = None
    path: Literal["fast", "portable"] = "fast"
    saves_in_bf16: bool = False
    """Whether fp32 values wait for the backward pass in bf16 (`worker/engine/kernels/saved_in_bf16.py`)."""
    layouts: int = 1
    """Kinds of attention, such as with and without a window."""
    norms_of_heads: bool = False
    """Whether queries and keys are normalised too, as in Qwen 3."""
    norms_of_values: bool = False
    """Whether values are normalised beside them, as in Gemma 4."""
    keeps_scores: Literal["capped", "with sinks"] | None = None
    """Why all scores of attention are kept for the backward pass, on a device without FlexAttention: they are
    capped, as in Gemma 2, or have sinks beside them, as in gpt-oss."""
    caps_logits: bool = False
    scales_embedding: bool = False
    """Whether the embedding is of a class that scales, as in Gemma 3: it is never held in 8 bits."""
    own_vocabulary: int = 0
    """Tokens that have an embedding for each layer, as in Gemma 4, if layers have an `own_input`."""

    body: str = "model"
    """The name of the text model without its head, as a module of the whole model."""
    towers: int = 0
    """Weights that no text runs through, such as those for images. They are in memory, but never trained."""

    @cached_property
    def each_layer(self) -> tuple["ModelShape", ...]:
        """The shape of the model for each layer, as if all were like this one."""
        alike = {layer: replace(self, differing=(), **_fields_of(layer)) for layer in set(self.differing)}
        return tuple(alike[layer] for layer in self.differing) or (self,) * self.layers

    @cached_property
    def of_a_token(self) -> "ModelShape":
        """The model with as many experts as a token is sent to: what one token is computed with."""
        return replace(
            self, experts=_active(self.experts), differing=tuple(map(_with_active_experts, self.differing))
        )

    @property
    def keys(self) -> int:
        """The width J · E, of the keys and of the values."""
        return self.key_heads * self.head_size

    @property
    def kept_bytes(self) -> int:
        """Bytes of a number while it waits for the backward pass."""
        return BF16 if self.saves_in_bf16 else self.number_bytes

    @property
    def has_mlp_module(self) -> bool:
        """Whether transformers computes the layer's MLP in a module `mlp`, which can be computed again."""
        return self._named("mlp.down_proj") == "mlp.down_proj" and bool(self.inner or self.experts)

    @cached_property
    def expert_projections(self) -> Shapes:
        """The weights of the experts of one layer, by parameter name."""
        if (experts := self.experts) is None:
            return {}
        E = experts.count
        first = "gate_up_proj" if experts.gated else "up_proj"
        return {
            self._named(f"mlp.experts.{first}"): ExpertShape(E * self.hidden, E * experts.outputs),
            self._named("mlp.experts.down_proj"): ExpertShape(E * experts.inner, E * self.hidden),
        }

    @cached_property
    def projections(self) -> Shapes:
        """(inputs, outputs) of the linear layers of one layer, by module name; those of one name are one."""
        found: dict[str, tuple[int, int]] = {}
        for usual, (inputs, outputs) in self._usual_projections().items():
            name = self._named(usual)
            found[name] = inputs, found.get(name, (0, 0))[1] + outputs
        return found

    def _usual_projections(self) -> Shapes:
        D, HE, JE, inner, own = self.hidden, self.queries, self.keys, self.inner, self.own_input
        experts = self.experts
        found: dict[str, tuple[int, int]] = {}
        if self.heads:
            found["self_attn.q_proj"] = D, (2 if self.gates_output else 1) * HE
            of_keys = {"own": ("k_proj", "v_proj"), "values": ("k_proj",), "borrowed": ()}[self.keys_are]
            found |= {f"self_attn.{name}": (D, JE) for name in of_keys}
            found["self_attn.o_proj"] = HE, D
        if self.recurrence:
            found |= self.recurrence.projections(D)
        if inner:
            mlp = "mlp" if experts is None or experts.beside_mlp else "mlp.shared_expert"
            found |= {f"{mlp}.gate_proj": (D, inner)} if self.gated else {}
            found |= {f"{mlp}.up_proj": (D, inner), f"{mlp}.down_proj": (inner, D)}
        if experts and experts.gates_shared:
            found["mlp.shared_expert_gate"] = D, 1
        if own:
            found |= {"per_layer_input_gate": (D, own), "per_layer_projection": (own, D)}
        return found

    def _named(self, usual: str) -> str:
        """Return the name that the model has for a module of a layer."""
        return next((own + usual[len(name) :] for name, own in self.names if usual.startswith(name)), usual)

    @cached_property
    def all_projections(self) -> Shapes:
        """(inputs, outputs) of all that an adapter can be put on, by module name."""
        found = {
            f"{self.body}.layers.{number}.{name}": shape
            for number, layer in enumerate(self.each_layer)
            for name, shape in {**layer.projections, **layer.expert_projections}.items()
            if layer.recurrence is None or layer.recurrence.adapts_output or not name.endswith(".out_proj")
        }
        if self.own_width:
            found[f"{self.body}.per_layer_model_projection"] = self.hidden, self.own_width
        return found

    @cached_property
    def own_width(self) -> int:
        """The width of the inputs of all layers together, beside the hidden states."""
        return sum(layer.own_input for layer in self.each_layer)


def _active(experts: LayerOfExperts | None) -> LayerOfExperts | None:
    return None if experts is None else replace(experts, count=experts.chosen)


def _with_active_experts(layer: LayerShape) -> LayerShape:
    return replace(layer, experts=_active(layer.experts))


def _fields_of(layer: LayerShape) -> dict[str, Any]:
    return {each.name: getattr(layer, each.name) for each in fields(LayerShape)}


@dataclass(frozen=True)
class PeftModules:
    """What PEFT's own modules hold while they compute a job.

    Whole matrices are as large as the embedding: gradients, and copies into which trained tokens are put.
    """

    inputs: float
    """Inputs of a layer's adapted projections, on average, which are kept in fp32."""
    trains_head: bool = False
    at_head: int = 0
    """Whole matrices while the losses are computed."""
    waiting: int = 0
    """The same during the whole backward pass."""
    at_embedding: int = 0
    """The same at its end."""


@dataclass(frozen=True)
class Load:
    """What jobs that train together put on the model and its device."""

    state: StateBytes
    """The bytes of all adapters."""
    longest_row: int
    """Tokens. A row is never cut, so a micro-batch may have to hold this many."""
    device: Device
    lanes: int = 1
    ranks: int = 0
    """Ranks of all projections of a layer, in the adapter that has most."""
    gains: bool = False
    """Whether an adapter has DoRA's gains, for which outputs are kept."""
    usual_row: int | None = None
    """Tokens of the rows of a micro-batch, if all are alike. Else rows that keep most are assumed."""
    supervised: float = 1.0
    """The share of tokens at which the next one is learnt."""
    rows: float = 1.0
    """Rows of a micro-batch, if all are as long as the usual or the longest one."""
    peft: "PeftModules | None" = None
    """What PEFT's own modules hold, if they compute the job."""

    def __add__(self, other: "Load") -> "Load":
        """Return the load of both on the same device."""
        return replace(
            self,
            state=self.state + other.state,
            longest_row=max(self.longest_row, other.longest_row),
            ranks=max(self.ranks, other.ranks),
            gains=self.gains or other.gains,
            usual_row=None,
            supervised=max(self.supervised, other.supervised),
        )

    @classmethod
    def of(
        cls,
        model: ModelShape,
        adapters: Sequence[LowRankAdapter],
        longest_row: int,
        device: Device,
        lanes: int = 1,
    ) -> "Load":
        """Return the load of these adapters on a model whose modules are not at hand."""
        shapes = model.all_projections
        states = (state_bytes(shapes, adapter, model.number_bytes, lanes) for adapter in adapters)
        return cls(
            state=sum(states, StateBytes()),
            longest_row=longest_row,
            device=device,
            lanes=lanes,
            ranks=ceil(ranks_of(shapes, adapters) / model.layers),
            gains=any(isinstance(adapter, LoraAdapter) and adapter.use_dora for adapter in adapters),
        )


@lru_cache(maxsize=64)  # an estimate asks for those of a few models, thousands of times
def base_bytes(model: ModelShape) -> int:
    """Return the bytes of the frozen weights.

    A layer has the weights of its `projections`, and as many in its experts as `expert_projections` says,
    with a router that is never quantised. The token embedding and the head have V D each, or V D in all if
    they are tied. Embeddings by layer are as wide as the inputs of all layers. In bits
    (`worker/engine/base/quantisation.py`):

        nf4: half a byte for a weight, a byte for each block of 64, and an fp32 for each 256 of those
             the embedding and the head in 8 bits, as below, unless the embedding scales
        int8: a byte for a weight, and an fp32 for each output; the embedding and the head stay as they are

    Towers are held as the layers are.
    """
    D, V, b = model.hidden, model.vocabulary, model.number_bytes
    own = model.own_width
    weights = model.towers + D * own
    rows, vectors = own, D + model.own_vocabulary * own
    for layer in model.each_layer:
        experts, recurrence = layer.experts, layer.recurrence
        count = experts.count if experts else 1
        shapes = (*layer.projections.values(), *layer.expert_projections.values())
        weights += sum(K * N for K, N in layer.projections.values())
        weights += sum(K * N // count for K, N in layer.expert_projections.values())
        rows += sum(N for _, N in shapes)
        vectors += layer.norms * D + (2 * layer.head_size if layer.norms_of_heads else 0)
        vectors += (D * count if experts else 0) + (recurrence.vectors if recurrence else 0)
    ends = (1 if model.tied else 2) * V
    match model.quantization:
        case "nf4":
            held = weights * (1 / 2 + 1 / 64 + FP32 / (64 * 256))
            head = ends * (D * b if model.scales_embedding else D + FP32)
        case "int8":
            held, head = weights + FP32 * rows, ends * D * b
        case None:
            held, head = weights * b, ends * D * b
    return round(held + head + vectors * b)
