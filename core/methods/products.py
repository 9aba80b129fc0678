"""LoHa, LoKr, MiSS, RandLoRA, GraLoRA and DeLoRA: the change of a weight is another product than LoRA's."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    MAX_RANK,
    Alpha,
    AlphaPattern,
    ExcludingOptions,
    Method,
    NoDropout,
    Paper,
    PerModule,
    Rank,
    RankPattern,
    Seed,
    TargetOptions,
)

Lambda = Annotated[int, Field(ge=1, le=4096)]


class LycorisOptions(ExcludingOptions):
    """The options that LoHa and LoKr share."""

    r: Rank = 8
    """The rank of each factor"""
    alpha: Alpha = 8
    """Scale of the update, divided by r"""
    rank_dropout: NoDropout = 0.0
    module_dropout: NoDropout = 0.0
    rank_pattern: RankPattern = Field(default={})
    alpha_pattern: AlphaPattern = Field(default={})


class LohaAdapter(LycorisOptions):
    """The change is (B₁ A₁) ∘ (B₂ A₂), of rank r² at most (Hyeon-Woo et al. 2021, arXiv:2108.06098)."""

    type: Literal["loha"] = "loha"


class LokrAdapter(LycorisOptions):
    """The change is a Kronecker product C ⊗ (B A) (Yeh et al. 2023, arXiv:2309.14859)."""

    type: Literal["lokr"] = "lokr"
    decompose_both: bool = False
    """Make C a product of two smaller matrices too"""
    decompose_factor: Annotated[int, Field(ge=-1)] = -1
    """Size of C; -1 makes both factors about equally large"""
    rank_dropout_scale: Literal[False] = False
    """Not offered: it belongs to rank_dropout"""
    init_weights: Literal[True, "lycoris"] = True
    """The factor that is 0 at the beginning: true is PEFT's choice, `lycoris` the choice of the LyCORIS
    library"""


class MissAdapter(ExcludingOptions):
    """The change is one thin matrix, repeated along the weight (Kang & Yin 2024, arXiv:2409.15371)."""

    type: Literal["miss"] = "miss"
    r: Rank = 64
    """The rank"""
    mini_r: Annotated[int, Field(ge=1, le=4096)] = 1
    """Width of the matrix along the outputs, with init_weights `mini`; must divide the outputs"""
    miss_dropout: NoDropout = 0.0
    init_weights: Literal[True, "bat", "mini"] = True
    """The variant: with `bat` the change depends on the weight, and `mini` has fewer parameters"""


class RandLoraAdapter(TargetOptions):
    """The change is a sum of random low-rank products with trained scales.

    Albert et al. 2025, arXiv:2502.00987. The random matrices are not trained.
    """

    type: Literal["randlora"] = "randlora"
    r: Rank = 32
    """Rank of each product; a lower rank sums more products and has more parameters"""
    randlora_alpha: Annotated[int, Field(ge=1, le=16384)] = 640
    """Scale of the update, divided by r"""
    randlora_dropout: NoDropout = 0.0
    projection_prng_key: Seed = 0
    """Seed of the random matrices"""
    save_projection: Literal[True] = True
    """Publish the random matrices too"""
    sparse: bool = False
    """Use random matrices of -1, 0 and 1, with two thirds of the entries 0"""
    very_sparse: bool = False
    """Use the same matrices with more zeros"""


class GraloraAdapter(TargetOptions):
    """Each weight is a grid of gralora_k² blocks, and each block has its own LoRA.

    Jung et al. 2025, arXiv:2505.20355.
    """

    type: Literal["gralora"] = "gralora"
    r: Rank = 32
    """The rank; the LoRA of each block has rank r / gralora_k"""
    hybrid_r: Annotated[int, Field(ge=0, le=MAX_RANK)] = 0
    """Rank of an additional plain LoRA; 0 adds none"""
    alpha: Alpha = 64
    """Scale of the update, divided by r + hybrid_r"""
    gralora_k: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of blocks along the inputs and along the outputs; must divide the inputs, the outputs and r"""
    gralora_dropout: NoDropout = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if self.r % self.gralora_k:
            yield "gralora_k", f"it must divide r, which is {self.r}"


class DeloraAdapter(ExcludingOptions):
    """The change is a sum of r products of unit vectors, scaled to one trained bound.

    Bini et al. 2025, arXiv:2503.18225. A change is as large as its bound from the first step on, whatever the
    learning rate. The default bound of 1 is Tunery's own: with PEFT's default of 15, a small model forgets
    all it knows.
    """

    type: Literal["delora"] = "delora"
    r: Rank = 8
    """The rank"""
    delora_lambda: Lambda = 1
    """The bound at the beginning, which is how much each weight changes; the bound is trained too"""
    module_dropout: NoDropout = 0.0
    rank_pattern: RankPattern = Field(default={})
    lambda_pattern: PerModule[Lambda] = Field(default={})
    """Different bounds for some modules, by the last parts of the modules' names"""


METHODS = (
    Method(
        options=LohaAdapter,
        title="LoHa",
        good_for="More change than LoRA allows with the same number of parameters",
        cost="2 r (inputs + outputs) parameters for each layer; every step computes the whole change",
        learning_rate=1e-3,
        paper=Paper(
            "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", "2108.06098"
        ),
    ),
    Method(
        options=LokrAdapter,
        title="LoKr",
        good_for="Very small adapters that still change every weight",
        cost="Far fewer parameters than LoRA; every step computes the whole change",
        learning_rate=3e-3,
        paper=Paper(
            "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
            "2309.14859",
        ),
    ),
    Method(
        options=MissAdapter,
        title="MiSS",
        good_for="The same tasks as LoRA, with half the parameters",
        cost="r × outputs parameters for each layer",
        learning_rate=1e-4,
        paper=Paper(
            "MiSS: Balancing LoRA Performance and Efficiency with Simple Shard Sharing", "2409.15371"
        ),
    ),
    Method(
        options=RandLoraAdapter,
        title="RandLoRA",
        good_for="Tasks on which LoRA of any rank learns less than full fine-tuning",
        cost="The smaller of inputs and outputs, squared and divided by r, for each layer; several times "
        "LoRA's time",
        learning_rate=1e-4,
        paper=Paper("RandLoRA: Full-rank parameter-efficient fine-tuning of large models", "2502.00987"),
    ),
    Method(
        options=GraloraAdapter,
        title="GraLoRA",
        good_for="The same tasks as LoRA at high ranks, when a higher rank of LoRA no longer helps",
        cost="r (inputs + outputs) parameters for each layer, as LoRA, for a change of gralora_k times the "
        "rank",
        learning_rate=2e-4,
        paper=Paper(
            "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", "2505.20355"
        ),
    ),
    Method(
        options=DeloraAdapter,
        title="DeLoRA",
        good_for="Long runs or high learning rates in which the weights must not move far",
        cost="r (inputs + outputs) parameters for each layer, as LoRA, and the norm of each input's weights",
        learning_rate=1e-3,
        paper=Paper("Decoupling Angles and Strength in Low-rank Adaptation", "2503.18225"),
    ),
)
