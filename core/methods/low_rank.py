"""LoRA and AdaLoRA: the change of a weight is a product of thin matrices."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from core.methods.method import (
    Alpha,
    AlphaPattern,
    ExcludingOptions,
    Method,
    MethodOptions,
    ModuleName,
    Paper,
    Probability,
    Rank,
    RankPattern,
)
from core.options import Options

Smoothing = Annotated[float, Field(gt=0, lt=1)]
TokenId = Annotated[int, Field(ge=0)]
MAX_INVOCATION = 256
InvocationTokens = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_INVOCATION)]
ApproximatePissa = Annotated[str, Field(pattern=r"^pissa_niter_[1-9][0-9]{0,2}$")]
InitLora = (
    Literal[True, "gaussian", "orthogonal", "pissa", "olora", "eva", "corda", "loftq", "lora_ga"]
    | ApproximatePissa
)


class EvaConfig(Options):
    """Options of the initialisation `eva`, which chooses the initial A."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    rho: Annotated[float, Field(ge=1, le=16)] = 2.0
    """Largest rank that a module may get, as a multiple of its own rank; modules that need fewer ranks give
    them to others. 1 keeps all ranks as they are"""
    tau: Annotated[float, Field(ge=0, le=1)] = 0.99
    """A direction counts as found when its cosine similarity before and after a batch of rows reaches this
    value"""
    use_label_mask: bool = True
    """Use only the tokens that the job learns"""
    whiten: bool = False
    """Divide each direction by the square root of its singular value"""
    adjust_scaling_factors: bool = True
    """Change a module's alpha with its rank, so that the scale of its update stays the same. With
    `use_rslora`, the scale still changes, by the root of the ratio of the ranks"""


class CordaConfig(Options):
    """Options of the initialisation `corda`, which chooses the initial A and B."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    corda_method: Literal["ipm", "kpm"] = "ipm"
    """`ipm` begins with the part of each weight that matters most to the rows, `kpm` with the part that
    matters least"""


class LoraGAConfig(Options):
    """Options of the initialisation `lora_ga`, which chooses the initial A and B."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    direction: Literal["ArBr", "A2rBr", "ArB2r", "random"] = "ArB2r"
    """Which of the first 2 r directions of a gradient A takes, and which B. `ArB2r`: A the first r, B the
    others. `A2rBr`: the other way round. `ArBr`: in turn. `random`: both take the same r, drawn at random"""
    scale: Literal["stable", "weight_svd", "gd_scale", "unit"] = "stable"
    """How the initial values are scaled. `stable`: B by the fourth root of the outputs over the root of
    stable_gamma. `weight_svd`: B by the largest singular value of the weight. `gd_scale`: both are divided by
    the scale of the update. `unit`: not at all"""
    stable_gamma: Annotated[int, Field(ge=1, le=4096)] = 16
    """A larger value begins with a smaller B, with the scale `stable`"""


class LoraAdapter(ExcludingOptions):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + s (x Aᵀ) Bᵀ.

    The scale s is lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora` (Kalajdzievski 2023,
    arXiv:2312.03732). With `training.loraplus_lr_ratio` the method is LoRA+ (Hayou et al. 2024,
    arXiv:2402.12354). On a base model in 4 bits it is QLoRA (Dettmers et al. 2023, arXiv:2305.14314).
    The defaults of rank 16 and alpha 32 are Tunery's own; PEFT's are 8 and 8.
    """

    model_config = ConfigDict(json_schema_extra=None)

    only_in_training: ClassVar[frozenset[str]] = frozenset({"lora_dropout"})

    type: Literal["lora"] = "lora"
    target_modules: Annotated[
        Literal["all-linear"] | list[str],
        Field(
            description="The modules to change, by the last parts of their names; `all-linear`, Tunery's own "
            "default, is every linear layer except the head and the routers of experts. It may be empty if "
            "`target_parameters` names something"
        ),
    ] = "all-linear"
    target_parameters: list[ModuleName] | None = None
    """The weights of experts to change, by the last parts of their names, such as `mlp.experts.down_proj`.
    null changes all of them with `all-linear`, and none beside named modules; an empty list changes none"""
    r: Rank = 16
    """The rank; a higher rank can learn more and takes more memory"""
    lora_alpha: Alpha = 32
    """Divided by r, it scales the update"""
    lora_dropout: Probability = 0.0
    """Probability with which each input of A is set to 0 in training"""
    use_rslora: bool = False
    """Divide lora_alpha by the square root of r instead of r"""
    use_dora: bool = False
    """Train the norm of each output's weights separately from their direction (DoRA: Liu et al. 2024,
    arXiv:2402.09353)"""
    init_lora_weights: InitLora = True
    """The initial A and B. True: A is random and B is 0, so that training begins at the base model.
    `gaussian`: the same, with A drawn from a normal distribution. `orthogonal`: both are random, and
    their product is 0. `pissa`, `pissa_niter_N` (arXiv:2404.02948) and `olora` (arXiv:2406.01775): a
    part of the weights. `eva` (arXiv:2410.07170): the directions in which the layers' inputs vary most
    on rows of the data. `corda` (arXiv:2406.05223): a part of the weights, chosen by rows of the data.
    `loftq` (arXiv:2310.08659): the part of the weights that a quantised base model has lost. `lora_ga`
    (arXiv:2407.05000): the directions of the weights' gradients on rows of the data"""
    alora_invocation_tokens: InvocationTokens | None = None
    """The tokens that invoke the adapter: in each row it acts on their last occurrence and on all tokens
    behind. The tokens before are computed by the base model alone, so that servers can share them (aLoRA:
    arXiv:2504.12397). Null: the adapter acts on all tokens"""
    modules_to_save: Annotated[list[ModuleName], Field(min_length=1)] | None = None
    """Modules to train as a whole beside A and B, by the last parts of their names, such as `embed_tokens`,
    `lm_head` or `model.norm`. Their copies are saved with the adapter. The job trains alone"""
    trainable_token_indices: Annotated[list[TokenId], Field(min_length=1)] | None = None
    """Tokens whose embeddings are trained beside A and B; if the head is the embedding too, so are their rows
    of the head. The job trains alone"""
    ensure_weight_tying: bool = False
    """If modules_to_save names the embedding of a model whose head is its embedding too, keep the two one.
    Otherwise only the embedding is trained, and the head stays the base model's"""
    rank_pattern: RankPattern = Field(default={})
    alpha_pattern: AlphaPattern = Field(default={})
    eva_config: EvaConfig | None = None
    """Options of the initialisation `eva`; null is the default of each option"""
    corda_config: CordaConfig | None = None
    """Options of the initialisation `corda`; null is the default of each option"""
    lora_ga_config: LoraGAConfig | None = None
    """Options of the initialisation `lora_ga`; null is the default of each option"""
    dynamic_rank: bool = False
    """In each step, draw a number at random and train only so many of the first ranks. The adapter can
    then be cut to any lower rank (DyLoRA: Valipour et al. 2023, arXiv:2210.07558)"""

    @property
    def begins_with_weights(self) -> bool:
        """Whether A and B begin with a part of the weights, which is taken out of the base weights."""
        init = self.init_lora_weights
        return isinstance(init, str) and (init in ("olora", "corda", "lora_ga") or init.startswith("pissa"))

    @property
    def needs_initial_values(self) -> bool:
        """Whether the initial A and B need more than their own layer: the source weights, or rows."""
        return self.init_lora_weights in ("loftq", "eva", "corda", "lora_ga")

    @property
    def trained_beside(self) -> str | None:
        """The option by which the job trains more than A and B, which PEFT's own modules then compute."""
        named = (name for name in ("modules_to_save", "trainable_token_indices") if getattr(self, name))
        return next(named, None)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if self.eva_config is not None and self.init_lora_weights != "eva":
            yield "eva_config", "it is an option of init_lora_weights 'eva'"
        if self.corda_config is not None and self.init_lora_weights != "corda":
            yield "corda_config", "it is an option of init_lora_weights 'corda'"
        if self.lora_ga_config is not None and self.init_lora_weights != "lora_ga":
            yield "lora_ga_config", "it is an option of init_lora_weights 'lora_ga'"
        if self.init_lora_weights == "orthogonal":
            yield from self._odd_ranks()
        if self.use_dora and self.init_lora_weights == "loftq":
            yield (
                "use_dora",
                "DoRA would use the norms that the weights had before init_lora_weights 'loftq' changed them",
            )
        if self.begins_with_weights:
            begins = f"init_lora_weights {self.init_lora_weights!r} begins with a part of the weights"
            if self.use_dora:
                yield "use_dora", f"{begins}, whose norms DoRA would train"
            if self.lora_dropout:
                yield "lora_dropout", f"{begins}, which dropout must not remove"
        if self.dynamic_rank:
            yield from self._contradictions_of_dynamic_rank()
        if self.alora_invocation_tokens is not None:
            yield from self._contradictions_of_invocation()
        if self.trained_beside is not None:
            yield from self._contradictions_beside(self.trained_beside)
        if self.ensure_weight_tying and self.modules_to_save is None:
            yield "ensure_weight_tying", "it is an option of modules_to_save, which is null"
        if self.target_parameters:
            yield from self.conflicts_with_experts()
            if self.layers_to_transform is not None:
                yield (
                    "layers_to_transform",
                    "it does not limit target_parameters: give them whole names there",
                )
        elif not self.target_modules:
            yield "target_modules", "nothing is named here, and nothing in target_parameters"

    def conflicts_with_experts(self) -> Iterator[tuple[str, str]]:
        """Yield `(field, reason)` for each option with which no experts can be changed."""
        if self.lora_dropout:
            yield (
                "lora_dropout",
                "PEFT cannot drop the inputs of experts, so it must be 0",
            )
        if self.use_dora:
            yield "use_dora", "DoRA has no norms for experts"
        if self.dynamic_rank:
            yield "dynamic_rank", "the ranks of experts cannot be cut to a lower rank"
        if self.alora_invocation_tokens is not None:
            yield "alora_invocation_tokens", "PEFT puts no aLoRA on experts"
        if self.trained_beside is not None:
            yield self.trained_beside, "no experts are trained beside whole modules and tokens"
        if self.init_lora_weights not in (True, "gaussian"):
            yield "init_lora_weights", "experts begin with true or 'gaussian' only"

    def _odd_ranks(self) -> Iterator[tuple[str, str]]:
        ranks = {"r": self.r} | {f"rank_pattern.{name}": rank for name, rank in self.rank_pattern.items()}
        for param, rank in ranks.items():
            if rank % 2:
                yield param, f"init_lora_weights 'orthogonal' needs even ranks, and this one is {rank}"

    def _contradictions_of_dynamic_rank(self) -> Iterator[tuple[str, str]]:
        if self.init_lora_weights not in (True, "gaussian"):
            reason = "every rank must begin at the base model, with init_lora_weights true or 'gaussian'"
            yield "dynamic_rank", reason
        if self.rank_pattern:
            yield "dynamic_rank", "all modules must have the same rank, without a rank_pattern"
        if self.use_dora:
            yield "dynamic_rank", "use_dora trains norms, which fit only one rank"

    def _contradictions_beside(self, option: str) -> Iterator[tuple[str, str]]:
        by_peft = f"PEFT's own modules compute a job with {option}"
        if self.lora_dropout:
            yield "lora_dropout", f"{by_peft}, and draw masks from a random state that no checkpoint has"
        if self.init_lora_weights not in (True, "gaussian", "orthogonal"):
            yield "init_lora_weights", f"{by_peft}, so it is true, 'gaussian' or 'orthogonal'"
        if self.dynamic_rank:
            yield "dynamic_rank", f"{by_peft}, with all ranks"
        if self.alora_invocation_tokens is not None:
            yield (
                "alora_invocation_tokens",
                f"{by_peft}, and what is trained beside A and B acts on all tokens",
            )

    def _contradictions_of_invocation(self) -> Iterator[tuple[str, str]]:
        if self.use_dora:
            yield "use_dora", "it changes all tokens, and alora_invocation_tokens only those that it invokes"
        if self.begins_with_weights or self.init_lora_weights == "loftq":
            reason = "the tokens before the invocation would lack what the initial A and B stand for"
            yield "alora_invocation_tokens", f"init_lora_weights {self.init_lora_weights!r}: {reason}"


class AdaLoraAdapter(ExcludingOptions):
    """LoRA whose modules share a budget of ranks (Zhang et al. 2023, arXiv:2303.10512).

    y = x Wᵀ + s (x Aᵀ ∘ e) Bᵀ. Every module begins with rank init_r. From step tinit until the last tfinal
    steps, the entries of e that matter least are set to 0, until a module has target_r ranks on average. The
    default alpha of 32 is Tunery's own; PEFT's is 8.
    """

    only_in_training: ClassVar[frozenset[str]] = frozenset(
        {"target_r", "lora_dropout", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight"}
    )

    type: Literal["adalora"] = "adalora"
    target_r: Rank = 8
    """Average rank of a module at the end"""
    init_r: Rank = 12
    """Rank of every module at the beginning"""
    lora_alpha: Alpha = 32
    """Divided by the rank, it scales the update"""
    lora_dropout: Probability = 0.0
    """Probability with which each input of A is set to 0 in training"""
    tinit: Annotated[int, Field(ge=0)] = 0
    """Number of steps at the beginning in which all ranks are kept"""
    tfinal: Annotated[int, Field(ge=0)] = 0
    """Number of steps at the end in which the ranks no longer change"""
    deltaT: Annotated[int, Field(ge=1)] = 1
    """Number of steps between two allocations of the ranks"""
    beta1: Smoothing = 0.85
    """Weight of the past in the running average of an entry's sensitivity"""
    beta2: Smoothing = 0.85
    """Weight of the past in the running average of the sensitivity's uncertainty"""
    orth_reg_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the loss term that keeps A and B orthogonal"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if self.target_r > self.init_r:
            yield (
                "target_r",
                f"ranks are only removed, so it must not be above init_r, which is {self.init_r}",
            )

    def lacks_steps(self, total_steps: int) -> str | None:
        """Return why a job of `total_steps` steps cannot remove ranks, or None if it can."""
        if self.tinit < total_steps - self.tfinal:
            return None
        return (
            f"The job has {total_steps} steps, and tinit {self.tinit} and tfinal {self.tfinal} leave no "
            "step in which to remove ranks: lower tinit or tfinal, or train for more epochs."
        )


LowRankAdapter = LoraAdapter | AdaLoraAdapter
"""The options of a method whose update of a weight is a product of thin matrices."""


def invocation_of(adapter: MethodOptions) -> Sequence[int]:
    """Return the tokens that invoke the adapter, or none if it acts on all tokens."""
    return adapter.alora_invocation_tokens or () if isinstance(adapter, LoraAdapter) else ()


METHODS = (
    Method(
        options=LoraAdapter,
        title="LoRA",
        good_for="Almost everything; the method to begin with. Every runtime that loads adapters loads "
        "these. With training.loraplus_lr_ratio it is LoRA+; on a base model whose quantization is nf4 it "
        "is QLoRA",
        cost="r (inputs + outputs) parameters for each layer. The cheapest method, because jobs share steps",
        learning_rate=2e-4,
        paper=Paper("LoRA: Low-Rank Adaptation of Large Language Models", "2106.09685"),
        runtimes=("PEFT (the only one for use_dora)", "vLLM", "SGLang", "LoRAX", "llama.cpp (converted)"),
        trains="cohort",
    ),
    Method(
        options=AdaLoraAdapter,
        title="AdaLoRA",
        good_for="A small adapter whose parameters go to the layers that need them",
        cost="The cost of LoRA with rank init_r, and an additional loss term and bookkeeping in every step",
        learning_rate=1e-3,
        paper=Paper("AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", "2303.10512"),
        trains="cohort",
    ),
)
