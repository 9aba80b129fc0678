"""LoRA and AdaLoRA: the change of a weight is a product of thin matrices."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from core.methods.method import Alpha, ExcludingOptions, Method, Paper, PerModule, Probability, Rank
from core.options import Options

Smoothing = Annotated[float, Field(gt=0, lt=1)]
ApproximatePissa = Annotated[str, Field(pattern=r"^pissa_niter_[1-9][0-9]{0,2}$")]
InitLora = (
    Literal[True, "gaussian", "orthogonal", "pissa", "olora", "eva", "corda", "loftq"] | ApproximatePissa
)


class EvaConfig(Options):
    """What A begins with under the initialisation `eva`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    rho: Annotated[float, Field(ge=1, le=16)] = 2.0
    """How many times its rank a module may get, of those that others need less; 1 leaves all ranks alone"""
    tau: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Least cosine between directions before and after a batch of rows, with which they are taken as found"""
    use_label_mask: bool = True
    """Look at the tokens that are learnt alone"""
    whiten: bool = False
    """Divide each direction by the root of its singular value"""
    adjust_scaling_factors: bool = True
    """Let alpha follow the rank, so that the scale stays"""


class CordaConfig(Options):
    """What A and B begin with under the initialisation `corda`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    corda_method: Literal["ipm", "kpm"] = "ipm"
    """`ipm`: the part of each weight that matters most to the rows. `kpm`: the part that matters least"""


class LoraAdapter(ExcludingOptions):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + s (x Aᵀ) Bᵀ.

    s is lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora` (Kalajdzievski 2023, arXiv:2312.03732).
    With `training.loraplus_lr_ratio` it is LoRA+ (Hayou et al. 2024, arXiv:2402.12354), on a base model in 4
    bits QLoRA (Dettmers et al. 2023, arXiv:2305.14314).
    Rank 16 and alpha 32 are our own defaults, PEFT's are 8 and 8.
    """

    model_config = ConfigDict(json_schema_extra=None)

    type: Literal["lora"] = "lora"
    r: Rank = 16
    """The rank: more of it learns more, and takes more memory. `auto` tries 4, 8, 16 and 32"""
    lora_alpha: Alpha = 32
    """Scale of the update, divided by r; with an automatic rank twice the rank, unless it is named"""
    lora_dropout: Probability = 0.0
    """How often an input of A is dropped in training"""
    use_rslora: bool = False
    """Divide lora_alpha by the root of r instead"""
    use_dora: bool = False
    """Train the norms of the weights' columns apart (DoRA: Liu et al. 2024, arXiv:2402.09353)"""
    init_lora_weights: InitLora = True
    """True: A is random and B is 0, so that training begins at the base model. `pissa`, `pissa_niter_N`
    (arXiv:2404.02948) and `olora` (arXiv:2406.01775) begin with a part of the weights, `eva`
    (arXiv:2410.07170) and `corda` (arXiv:2406.05223) with what rows of the data do there, `loftq`
    (arXiv:2310.08659) with what a quantised base model has lost"""
    rank_pattern: PerModule[Rank] = Field(default={})
    """Other ranks for some modules, by the last parts of their names"""
    alpha_pattern: PerModule[Alpha] = Field(default={})
    """Other alphas for some modules, in the same way"""
    eva_config: EvaConfig | None = None
    """Of the initialisation `eva`; null is its defaults"""
    corda_config: CordaConfig | None = None
    """Of the initialisation `corda`; null is its defaults"""
    dynamic_rank: bool = False
    """Each step trains the first ranks, as many as are drawn, so that the adapter can be cut to any rank
    afterwards (DyLoRA: Valipour et al. 2023, arXiv:2210.07558)"""

    @property
    def begins_with_weights(self) -> bool:
        """Whether A and B begin with a part of the weights, which the base then lacks."""
        init = self.init_lora_weights
        return isinstance(init, str) and (init in ("olora", "corda") or init.startswith("pissa"))

    @property
    def needs_a_beginning(self) -> bool:
        """Whether A and B begin with more than their own layer tells: the published weights, or rows."""
        return self.init_lora_weights in ("loftq", "eva", "corda")

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.eva_config is not None and self.init_lora_weights != "eva":
            yield "eva_config", "it belongs to the initialisation eva"
        if self.corda_config is not None and self.init_lora_weights != "corda":
            yield "corda_config", "it belongs to the initialisation corda"
        if self.init_lora_weights == "orthogonal":
            yield from self._odd_ranks()
        if self.use_dora and self.init_lora_weights == "loftq":
            yield "use_dora", "its norms would be those from before init_lora_weights 'loftq'"
        if self.begins_with_weights:
            begins = f"init_lora_weights {self.init_lora_weights!r} begins with a part of the weights"
            if self.use_dora:
                yield "use_dora", f"{begins}, whose norms DoRA would train"
            if self.lora_dropout:
                yield "lora_dropout", f"{begins}, which must not be dropped"
        if self.dynamic_rank:
            yield from self._contradictions_of_any_rank()

    def _odd_ranks(self) -> Iterator[tuple[str, str]]:
        ranks = {"r": self.r} | {f"rank_pattern.{name}": rank for name, rank in self.rank_pattern.items()}
        for place, rank in ranks.items():
            if rank % 2:
                yield place, f"init_lora_weights 'orthogonal' needs even ranks, and this one is {rank}"

    def _contradictions_of_any_rank(self) -> Iterator[tuple[str, str]]:
        if self.init_lora_weights not in (True, "gaussian"):
            at_the_base = "the first ranks must begin at the base model: init_lora_weights true or gaussian"
            yield "dynamic_rank", at_the_base
        if self.rank_pattern:
            yield "dynamic_rank", "all modules must have the same ranks: no rank_pattern"
        if self.use_dora:
            yield "dynamic_rank", "norms that are trained apart belong to one rank: no use_dora"


class AdaLoraAdapter(ExcludingOptions):
    """LoRA whose ranks are a budget (Zhang et al. 2023, arXiv:2303.10512): y = x Wᵀ + s (x Aᵀ ∘ e) Bᵀ.

    The ranks begin at init_r. From step tinit to the last tfinal steps, the entries of e that matter least
    are set to 0, until target_r are left on average. Alpha 32 is our own default, PEFT's is 8.
    """

    type: Literal["adalora"] = "adalora"
    target_r: Rank = 8
    """Ranks that are left in the end, on average"""
    init_r: Rank = 12
    """Rank of each module in the beginning"""
    lora_alpha: Alpha = 32
    """Scale of the update, divided by the rank"""
    lora_dropout: Probability = 0.0
    """How often an input of A is dropped in training"""
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

    def lacks_steps(self, total_steps: int) -> str | None:
        """Why its ranks cannot fall in so many steps; None where they can."""
        if self.tinit < total_steps - self.tfinal:
            return None
        return (
            f"The job has {total_steps} steps, and tinit {self.tinit} and tfinal {self.tfinal} leave none of "
            "them in which ranks could fall: lower these, or train for more epochs."
        )


LowRankAdapter = LoraAdapter | AdaLoraAdapter
"""Those whose update of a weight is a product of thin matrices."""


METHODS = (
    Method(
        options=LoraAdapter,
        title="LoRA",
        good_for="Almost everything; where to begin. Every runtime that takes adapters takes these. With "
        "training.loraplus_lr_ratio it is LoRA+, on a base model whose quantization is nf4 QLoRA",
        cost="r (inputs + outputs) parameters for each layer. The cheapest here, since jobs share steps",
        learning_rate=2e-4,
        paper=Paper("LoRA: Low-Rank Adaptation of Large Language Models", "2106.09685"),
        runtimes=("PEFT (the only one for use_dora)", "vLLM", "SGLang", "LoRAX", "llama.cpp (converted)"),
        trains="cohort",
    ),
    Method(
        options=AdaLoraAdapter,
        title="AdaLoRA",
        good_for="A small adapter, whose parameters go to the layers that need them",
        cost="As LoRA at rank init_r, with another loss term and bookkeeping in every step",
        learning_rate=1e-3,
        paper=Paper("AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", "2303.10512"),
        trains="cohort",
    ),
)
