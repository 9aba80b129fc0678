"""What the memory of a training follows from: a base model, its jobs and its device, as plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from core.estimates.adapters import FP32, ExpertShape, Shapes, StateBytes, ranks_of, state_bytes
from core.methods.low_rank import LoraAdapter, LowRankAdapter

BF16 = 2  # bytes of a number

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class LayerOfExperts:
    """The experts of a layer, which stand in the place of its MLP or beside it."""

    count: int
    chosen: int
    """Experts that a token is sent to."""
    inner: int
    shared_inner: int = 0
    """The inner width of an MLP that all tokens take too: a shared expert."""
    gated: bool = True

    @property
    def outputs(self) -> int:
        """Outputs of an expert's first projection."""
        return (2 if self.gated else 1) * self.inner


@dataclass(frozen=True)
class ModelShape:
    """A base model like Llama, in the letters of the engine's axes: D, I, H, J, E and V.

    A model of another kind is described by the nearest one: GPT-2 has no gate, but it is counted.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    number_bytes: int = BF16
    """Bytes of a number that the model computes with: 2 in bf16, 4 in fp32."""
    quantization: Literal["nf4", "int8"] | None = None
    path: Literal["fast", "portable"] = "fast"
    saves_in_bf16: bool = False
    """Whether fp32 values wait for the backward pass in bf16 (`worker/engine/kernels/saved_in_bf16.py`)."""
    norms: int = 2
    """Norms of a layer that have the hidden width. Gemma has 4."""
    norms_of_heads: bool = False
    """Whether queries and keys are normalised too, as in Qwen 3."""
    experts: LayerOfExperts | None = None
    """If there are any, `inner` is that of the shared expert, or 0."""
    keeps_scores: Literal["capped", "with sinks"] | None = None
    """Why all scores of attention are kept for the backward pass, on a device without FlexAttention: they are
    capped, as in Gemma 2, or have sinks beside them, as in gpt-oss."""

    body: str = "model"
    """The name of the text model without its head, as a module of the whole model."""
    towers: int = 0
    """Weights that no text runs through, such as those for images. They are in memory, but never trained."""

    @property
    def queries(self) -> int:
        """The width H · E."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """The width J · E, of the keys and of the values."""
        return self.key_heads * self.head_size

    @property
    def kept_bytes(self) -> int:
        """Bytes of a number while it waits for the backward pass."""
        return BF16 if self.saves_in_bf16 else self.number_bytes

    @property
    def kept_of_mlp(self) -> int:
        """Numbers that transformers' MLP keeps of a token: gate, its activation, up, the product of both.

        Experts keep the outputs of their first projection, for each expert of the token.
        """
        experts = self.experts
        return 4 * self.inner + (experts.chosen * experts.outputs if experts else 0)

    @property
    def expert_projections(self) -> Shapes:
        """The weights of the experts of one layer, by parameter name."""
        if (experts := self.experts) is None:
            return {}
        E = experts.count
        first = "gate_up_proj" if experts.gated else "up_proj"
        return {
            f"mlp.experts.{first}": ExpertShape(E * self.hidden, E * experts.outputs),
            "mlp.experts.down_proj": ExpertShape(E * experts.inner, E * self.hidden),
        }

    @property
    def projections(self) -> Shapes:
        """(inputs, outputs) of the linear projections of one layer, by module name."""
        mlp = {
            "mlp.gate_proj": (self.hidden, self.inner),
            "mlp.up_proj": (self.hidden, self.inner),
            "mlp.down_proj": (self.inner, self.hidden),
        }
        return {
            "self_attn.q_proj": (self.hidden, self.queries),
            "self_attn.k_proj": (self.hidden, self.keys),
            "self_attn.v_proj": (self.hidden, self.keys),
            "self_attn.o_proj": (self.queries, self.hidden),
            **(mlp if self.inner else {}),
        }

    @property
    def all_projections(self) -> Shapes:
        """(inputs, outputs) of the projections of all layers, by module name."""
        return {
            f"{self.body}.layers.{layer}.{name}": shape
            for layer in range(self.layers)
            for name, shape in {**self.projections, **self.expert_projections}.items()
        }


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


def base_bytes(model: ModelShape) -> int:
    """Return the bytes of the frozen weights.

    A layer has D H E + 2 D J E + H E D + 3 D I weights in its projections, and as many in its experts as
    `expert_projections` says, with a router that is never quantised. The token embedding and the head have
    V D each, or V D in all if they are tied. In bits (`worker/engine/base/quantisation.py`):

        nf4: half a byte for a weight, a byte for each block of 64, and an fp32 for each 256 of those
             the embedding and the head in 8 bits, as below
        int8: a byte for a weight, and an fp32 for each output; the embedding and the head stay as they are

    Towers are held as the layers are.
    """
    D, V = model.hidden, model.vocabulary
    count = model.experts.count if model.experts else 1
    weights = sum(K * N for K, N in model.projections.values())
    weights += sum(K * N // count for K, N in model.expert_projections.values())
    rows = sum(N for _, N in (*model.projections.values(), *model.expert_projections.values()))
    router = D * count if model.experts else 0
    ends = 1 if model.tied else 2
    vectors = model.norms * D + (2 * model.head_size if model.norms_of_heads else 0) + router
    others = (model.layers * vectors + D) * model.number_bytes
    match model.quantization:
        case "nf4":
            of_a_weight = 1 / 2 + 1 / 64 + FP32 / (64 * 256)
            layer = weights * of_a_weight
            head = ends * V * (D + FP32)
        case "int8":
            of_a_weight = 1.0
            layer, head = weights + FP32 * rows, ends * V * D * model.number_bytes
        case None:
            of_a_weight = model.number_bytes
            layer, head = weights * model.number_bytes, ends * V * D * model.number_bytes
    return round(model.layers * layer + model.towers * of_a_weight + head + others)
