"""The layers of a model as plain numbers: attention or a recurrence, then an MLP or experts."""

from dataclasses import dataclass
from typing import Literal

Keys = Literal["own", "values", "borrowed"]
"""Whether a layer has keys and values of its own, keys that are its values too, or those of another layer."""


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
    gates_shared: bool = False
    """Whether a layer with one output scales what the shared expert adds, as in Qwen."""
    beside_mlp: bool = False
    """Whether the layer has an MLP and its norms beside the experts, as in Gemma 4."""

    @property
    def outputs(self) -> int:
        """Outputs of an expert's first projection."""
        return (2 if self.gated else 1) * self.inner


@dataclass(frozen=True)
class Recurrence:
    """A state that goes from token to token, or a convolution alone, in the place of attention.

    The gated delta rule has keys of `key_size` and values for each of `heads`, and Mamba2 likewise. A short
    convolution has no state, so its `values` are those that it gives to its last projection.
    """

    kind: Literal["delta rule", "mamba2", "convolution"]
    convolved: int
    """Channels of the causal convolution."""
    kernel: int
    """Tokens that the convolution sees."""
    values: int
    """The width of all heads' values, and of what the last projection reads."""
    heads: int = 0
    """Heads of the values, each of which has a state."""
    key_size: int = 0
    key_heads: int = 0
    adapts_output: bool = True
    """Whether PEFT puts a LoRA on the last projection; it does not in Nemotron H."""

    def projections(self, hidden: int) -> dict[str, tuple[int, int]]:
        """Return the (inputs, outputs) of its linear layers, by the names that most models give them."""
        D, C, V, H = hidden, self.convolved, self.values, self.heads
        match self.kind:
            case "delta rule":
                inputs = {
                    "in_proj_qkv": (D, C),
                    "in_proj_z": (D, V),
                    "in_proj_b": (D, H),
                    "in_proj_a": (D, H),
                }
                return {f"linear_attn.{name}": shape for name, shape in inputs.items()} | {
                    "linear_attn.out_proj": (V, D)
                }
            case "mamba2":
                return {"mamba.in_proj": (D, V + C + H), "mamba.out_proj": (V, D)}
        return {"conv.in_proj": (D, 3 * V), "conv.out_proj": (V, D)}

    @property
    def vectors(self) -> int:
        """The numbers that belong to no linear layer: the convolution's, and some for each head."""
        return self.convolved * self.kernel + 3 * self.heads + (self.values if self.heads else 0)


@dataclass(frozen=True)
class LayerShape:
    """One layer, in the letters of the engine's axes: I, H, J and E. A part that is missing has width 0."""

    heads: int
    key_heads: int
    head_size: int
    inner: int
    """The width of the MLP; in a layer of experts that of the shared expert or of the MLP beside, or 0."""
    gated: bool = True
    """Whether the MLP has a gate. Nemotron H has none."""
    norms: int = 2
    """Norms that have the hidden width. Gemma has 4."""
    keys_are: Keys = "own"
    gates_output: bool = False
    """Whether a part of the queries' projection gates the attended values, as in Qwen 3.5."""
    recurrence: Recurrence | None = None
    experts: LayerOfExperts | None = None
    own_input: int = 0
    """The width of an input beside the hidden states: Gemma 4's embeddings by layer."""

    @property
    def queries(self) -> int:
        """The width H · E."""
        return self.heads * self.head_size

    @property
    def own_keys(self) -> int:
        """The width of the keys and the values that the layer projects, both together."""
        width = self.key_heads * self.head_size
        return {"own": 2 * width, "values": width, "borrowed": 0}[self.keys_are]

    @property
    def blocks(self) -> int:
        """How many parts read normed hidden states: attention or a recurrence, an MLP, experts beside it."""
        has_mixer, has_mlp = bool(self.heads or self.recurrence), bool(self.inner or self.experts)
        beside = self.experts is not None and self.experts.beside_mlp
        return has_mixer + has_mlp + beside

    @property
    def kept_of_mlp(self) -> int:
        """Numbers that transformers' MLP keeps of a token: gate, its activation, up, the product of both.

        Without a gate they are the activation and its square. Experts keep the outputs of their first
        projection, for each expert of the token.
        """
        return (4 if self.gated else 2) * self.inner + self._kept_of_experts

    @property
    def kept_of_fast_mlp(self) -> int:
        """The same on the fast path, where a gate's values are computed again: gate and up."""
        return 2 * self.inner + self._kept_of_experts

    @property
    def _kept_of_experts(self) -> int:
        return self.experts.chosen * self.experts.outputs if self.experts else 0
