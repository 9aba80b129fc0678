"""LoRA and AdaLoRA: the change of a weight is a product of thin matrices."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from core.methods.method import Alpha, ExcludingOptions, Method, ModuleName, Paper, Probability, Rank

Smoothing = Annotated[float, Field(gt=0, lt=1)]
ApproximatePissa = Annotated[str, Field(pattern=r"^pissa_niter_[1-9][0-9]{0,2}$")]
InitLora = (
    Literal[True, "gaussian", "orthogonal", "pissa", "olora", "eva", "corda", "loftq"] | ApproximatePissa
)


class LoraAdapter(ExcludingOptions):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + s (x Aᵀ) Bᵀ.

    s is lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora` (Kalajdzievski 2023, arXiv:2312.03732).
    Rank 16 and alpha 32 are our own defaults, PEFT's are 8 and 8.
    """

    model_config = ConfigDict(json_schema_extra=None)

    type: Literal["lora"] = "lora"
    r: Rank = 16
    lora_alpha: Alpha = 32
    lora_dropout: Probability = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    """Train the norms of the weights' columns apart (DoRA: Liu et al. 2024, arXiv:2402.09353)"""
    init_lora_weights: InitLora = True
    """True: A is random and B is 0, so that training begins at the base model. `pissa`, `pissa_niter_N`
    (arXiv:2404.02948) and `olora` (arXiv:2406.01775) begin with a part of the weights, `eva`
    (arXiv:2410.07170) and `corda` (arXiv:2406.05223) with what rows of the data do there"""
    rank_pattern: dict[ModuleName, Rank] = Field(default={})
    """Other ranks for some modules, by the last parts of their names"""
    alpha_pattern: dict[ModuleName, Alpha] = Field(default={})
    """Other alphas for some modules, in the same way"""
    dynamic_rank: bool = False
    """Each step trains the first ranks, as many as are drawn, so that the adapter can be cut to any rank
    afterwards (DyLoRA: Valipour et al. 2023, arXiv:2210.07558)"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if not self.dynamic_rank:
            return
        if self.init_lora_weights not in (True, "gaussian"):
            yield (
                "dynamic_rank",
                "the first ranks must begin at the base model: init_lora_weights true or gaussian",
            )
        if self.rank_pattern:
            yield "dynamic_rank", "all modules must have the same ranks: no rank_pattern"
        if self.use_dora:
            yield "dynamic_rank", "norms that are trained apart belong to one rank: no use_dora"

    @property
    def begins_with_weights(self) -> bool:
        """Whether A and B begin with a part of the weights, which the base then lacks: PiSSA and OLoRA."""
        init = self.init_lora_weights
        return isinstance(init, str) and (init == "olora" or init.startswith("pissa"))


class AdaLoraAdapter(ExcludingOptions):
    """LoRA whose ranks are a budget (Zhang et al. 2023, arXiv:2303.10512): y = x Wᵀ + s (x Aᵀ ∘ e) Bᵀ.

    The ranks begin at init_r. From step tinit to the last tfinal steps, the entries of e that matter least
    are set to 0, until target_r are left on average. Alpha 32 is our own default, PEFT's is 8.
    """

    type: Literal["adalora"] = "adalora"
    target_r: Rank = 8
    init_r: Rank = 12
    lora_alpha: Alpha = 32
    lora_dropout: Probability = 0.0
    tinit: Annotated[int, Field(ge=0)] = 0
    """Steps before ranks begin to fall"""
    tfinal: Annotated[int, Field(ge=0)] = 0
    """Last steps, in which ranks stay"""
    deltaT: Annotated[int, Field(ge=1)] = 1
    """Steps from one allocation of ranks to the next"""
    beta1: Smoothing = 0.85
    """Smoothing of the sensitivity"""
    beta2: Smoothing = 0.85
    """Smoothing of its uncertainty"""
    orth_reg_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the term that keeps A and B orthogonal"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.target_r > self.init_r:
            yield "target_r", f"ranks only fall, so it must not be above init_r, which is {self.init_r}"


LowRankAdapter = LoraAdapter | AdaLoraAdapter
"""Those whose update of a weight is a product of thin matrices."""


METHODS = (
    Method(
        options=LoraAdapter,
        title="LoRA",
        good_for="Almost everything; where to begin. Every runtime that takes adapters takes these",
        cost="r (inputs + outputs) parameters for each layer. The cheapest here, since jobs share steps",
        learning_rate=2e-4,
        paper=Paper("LoRA: Low-Rank Adaptation of Large Language Models", "2106.09685"),
        runtimes=("PEFT", "vLLM", "SGLang", "LoRAX", "llama.cpp (converted)"),
        trains="cohort",
    ),
    Method(
        options=AdaLoraAdapter,
        title="AdaLoRA",
        good_for="A small adapter, whose parameters go to the layers that need them",
        cost="As LoRA at rank init_r, with another loss term and bookkeeping in every step",
        learning_rate=2e-4,
        paper=Paper("AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", "2303.10512"),
        trains="cohort",
    ),
)
