"""LoHa, LoKr, MiSS, RandLoRA, GraLoRA and DeLoRA: other products than LoRA's."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    MAX_RANK,
    Alpha,
    ExcludingOptions,
    Method,
    Paper,
    PerModule,
    Probability,
    Rank,
    Seed,
    TargetOptions,
)

Lambda = Annotated[int, Field(ge=1, le=4096)]


class LycorisOptions(ExcludingOptions):
    """What LoHa and LoKr have in common."""

    r: Rank = 8
    """The rank of each factor"""
    alpha: Alpha = 8
    """Scale of the update, divided by r"""
    rank_dropout: Probability = 0.0
    """Share of the ranks that do nothing in a step"""
    module_dropout: Probability = 0.0
    """How often a layer stays as it is in a step"""
    rank_pattern: PerModule[Rank] = Field(default={})
    """Other ranks for some modules, by the last parts of their names"""
    alpha_pattern: PerModule[Alpha] = Field(default={})
    """Other alphas for some modules, in the same way"""


class LohaAdapter(LycorisOptions):
    """The change is (B₁ A₁) ∘ (B₂ A₂), of a rank up to r² (Hyeon-Woo et al. 2021, arXiv:2108.06098)."""

    type: Literal["loha"] = "loha"


class LokrAdapter(LycorisOptions):
    """The change is a Kronecker product C ⊗ (B A) (Yeh et al. 2023, arXiv:2309.14859)."""

    type: Literal["lokr"] = "lokr"
    decompose_both: bool = False
    """Let C be a product too"""
    decompose_factor: Annotated[int, Field(ge=-1)] = -1
    """Size of C; -1 makes both factors about as large"""
    rank_dropout_scale: bool = False
    """Scale up what rank_dropout leaves"""
    init_weights: Literal[True, "lycoris"] = True
    """Which factor is 0 in the beginning: True is PEFT's choice, `lycoris` that of the LyCORIS library"""


class MissAdapter(ExcludingOptions):
    """One thin matrix, repeated along the weight (Kang & Yin 2024, arXiv:2409.15371)."""

    type: Literal["miss"] = "miss"
    r: Rank = 64
    """The rank"""
    mini_r: Annotated[int, Field(ge=1, le=4096)] = 1
    """With init_weights `mini`, parts along the outputs"""
    miss_dropout: Probability = 0.0
    init_weights: Literal[True, "bat", "mini"] = True
    """The variant: `bat` lets the change depend on the weight, `mini` has fewer parameters"""


class RandLoraAdapter(TargetOptions):
    """A sum of fixed random low-rank products with trained scales (Albert et al. 2025, arXiv:2502.00987)."""

    type: Literal["randlora"] = "randlora"
    r: Rank = 32
    """The lower it is, the more products are summed, and the more parameters there are"""
    randlora_alpha: Annotated[int, Field(ge=1, le=16384)] = 640
    """Scale of the update, divided by r"""
    randlora_dropout: Probability = 0.0
    projection_prng_key: Seed = 0
    """Seed of the random matrices"""
    save_projection: bool = True
    """Publish the random matrices too"""
    sparse: bool = False
    """Random matrices of -1, 0 and 1, two thirds of them 0"""
    very_sparse: bool = False
    """The same with more zeros"""


class GraloraAdapter(TargetOptions):
    """A grid of gralora_k² blocks, each with a LoRA of its own (Jung et al. 2025, arXiv:2505.20355)."""

    type: Literal["gralora"] = "gralora"
    r: Rank = 32
    """The rank, of which each block has r / gralora_k"""
    hybrid_r: Annotated[int, Field(ge=0, le=MAX_RANK)] = 0
    """Rank of a plain LoRA beside it"""
    alpha: Alpha = 64
    """Scale of the update, divided by r + hybrid_r"""
    gralora_k: Annotated[int, Field(ge=1, le=64)] = 2
    """Blocks along inputs and along outputs; divides both, and r"""
    gralora_dropout: Probability = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.r % self.gralora_k:
            yield "gralora_k", f"it must divide r, which is {self.r}"


class DeloraAdapter(ExcludingOptions):
    """A sum of r products of unit vectors, under one trained bound (Bini et al. 2025, arXiv:2503.18225).

    A change is as large as its bound from the first step on, whatever the learning rate. Bound 1 is our own
    default; by PEFT's, 15, a small model forgets all it knows.
    """

    type: Literal["delora"] = "delora"
    r: Rank = 8
    """The rank"""
    delora_lambda: Lambda = 1
    """How much a weight changes at first; it is trained too"""
    module_dropout: Probability = 0.0
    rank_pattern: PerModule[Rank] = Field(default={})
    """Other ranks for some modules, by the last parts of their names"""
    lambda_pattern: PerModule[Lambda] = Field(default={})
    """Other bounds for some modules, in the same way"""


METHODS = (
    Method(
        options=LohaAdapter,
        title="LoHa",
        good_for="More change than LoRA allows with as many parameters",
        cost="2 r (inputs + outputs) parameters for each layer; the whole change is made in every step",
        learning_rate=1e-3,
        paper=Paper(
            "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", "2108.06098"
        ),
    ),
    Method(
        options=LokrAdapter,
        title="LoKr",
        good_for="Very small adapters that still change every weight",
        cost="Fewer parameters than LoRA by far; the whole change is made in every step",
        learning_rate=3e-3,
        paper=Paper(
            "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
            "2309.14859",
        ),
    ),
    Method(
        options=MissAdapter,
        title="MiSS",
        good_for="LoRA's tasks, with half the parameters",
        cost="r × outputs parameters for each layer",
        learning_rate=1e-4,
        paper=Paper(
            "MiSS: Balancing LoRA Performance and Efficiency with Simple Shard Sharing", "2409.15371"
        ),
    ),
    Method(
        options=RandLoraAdapter,
        title="RandLoRA",
        good_for="Tasks on which LoRA stays behind full fine-tuning whatever its rank",
        cost="The smaller of inputs and outputs squared, by r, for each layer; several times LoRA's time",
        learning_rate=1e-4,
        paper=Paper("RandLoRA: Full-rank parameter-efficient fine-tuning of large models", "2502.00987"),
    ),
    Method(
        options=GraloraAdapter,
        title="GraLoRA",
        good_for="LoRA's tasks at high ranks, where more of a LoRA no longer helps",
        cost="r (inputs + outputs) parameters for each layer, as LoRA, at gralora_k times its rank",
        learning_rate=2e-4,
        paper=Paper(
            "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", "2505.20355"
        ),
    ),
    Method(
        options=DeloraAdapter,
        title="DeLoRA",
        good_for="Long runs or high learning rates, in which the weights must not drift far",
        cost="r (inputs + outputs) parameters for each layer, as LoRA, and its inputs' norms",
        learning_rate=1e-3,
        paper=Paper("Decoupling Angles and Strength in Low-rank Adaptation", "2503.18225"),
    ),
)
