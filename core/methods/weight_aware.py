"""HiRA, GLoRA, PEANuT and DEFT: the change of a weight depends on the weight itself."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    Alpha,
    ExcludingOptions,
    Method,
    MethodOptions,
    NoDropout,
    Paper,
    Rank,
    RankPattern,
    TargetModules,
)


class HiraAdapter(ExcludingOptions):
    """The change of a weight W is W ∘ (B A), with the rank of W itself (Huang et al. 2025, ICLR)."""

    type: Literal["hira"] = "hira"
    r: Rank = 32
    """The rank of B A"""
    hira_dropout: NoDropout = 0.0
    init_weights: Literal[True, "gaussian"] = True
    """How the initial A is drawn. B is 0 in both cases, so that training begins at the base model"""
    rank_pattern: RankPattern = Field(default={})


class GloraAdapter(MethodOptions):
    """Scales weights and biases, and adds to them (Chavan et al. 2023, arXiv:2306.07967).

    W becomes W + W ∘ A + B, and a bias b becomes b + b ∘ D + E + W C. A layer without a bias has only A and
    B.
    """

    type: Literal["glora"] = "glora"
    r: Rank = 8
    """The rank of the parts that are set to `lora`"""
    config_A_B: Literal["lora", "vector", "constant"] = "lora"
    """A and B: products of rank r (`lora`), a number for each output (`vector`), or one number
    (`constant`)"""
    config_C: Literal["lora", "vector", "none"] = "lora"
    """C: a product of rank r (`lora`), a number for each input (`vector`), or 0 (`none`)"""
    config_D_E: Literal["vector", "constant", "none"] = "constant"
    """D and E: a number for each output (`vector`), one number (`constant`), or 0 (`none`)"""
    target_modules: TargetModules = "all-linear"


class PeanutAdapter(ExcludingOptions):
    """A small network computes the change from the weight (Zhong et al. 2024, arXiv:2410.01870)."""

    type: Literal["peanut"] = "peanut"
    r: Rank = 32
    """Width of the network"""
    depth: Annotated[int, Field(ge=0, le=8)] = 0
    """Pairs of layers between the first and the last layer of the network"""
    act_fn: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """Nonlinearity of the network"""
    scaling: Annotated[float, Field(gt=0)] = 1.0
    """Scale of the change"""


class DeftAdapter(ExcludingOptions):
    """Replaces a part of W, of rank r, with another part of rank r (Kumar et al. 2025, arXiv:2509.22793).

    W becomes (I - P Qᵀ) W + P R, where Q is computed from P.
    """

    type: Literal["deft"] = "deft"
    r: Rank = 8
    """The rank of both parts"""
    decomposition_method: Literal["relu", "qr"] = "relu"
    """`relu`: Q is P without its negative entries. `qr`: P is made orthogonal first, and Q equals P"""
    alpha: Alpha | None = None
    """Scale of R, divided by r; null is r, which leaves R unscaled"""
    para: bool = False
    """Only remove the part: there is no R, and training does not begin at the base model"""
    deft_dropout: NoDropout = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if self.para and self.alpha is not None:
            yield "alpha", "it scales R, which para leaves out"


METHODS = (
    Method(
        options=HiraAdapter,
        title="HiRA",
        good_for="Tasks on which LoRA learns too little, with the same number of parameters",
        cost="r (inputs + outputs) parameters for each layer; every step computes the whole change",
        learning_rate=2e-3,
    ),
    Method(
        options=GloraAdapter,
        title="GLoRA",
        good_for="Base models with biases, and weights that should be scaled as well as shifted",
        cost="2 r (inputs + outputs) parameters for each layer; every step computes the whole weight anew",
        learning_rate=1e-3,
        paper=Paper("One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", "2306.07967"),
    ),
    Method(
        options=PeanutAdapter,
        title="PEANuT",
        good_for="Small adapters that should change the weights in a nonlinear way",
        cost="2 r × outputs parameters for each layer, and 2 r² for each pair of layers in the network; "
        "every step computes the whole change",
        learning_rate=5e-4,
        paper=Paper("PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural Tweakers", "2410.01870"),
    ),
    Method(
        options=DeftAdapter,
        title="DEFT",
        good_for="New content, when the model should forget little",
        cost="r (inputs + outputs) parameters for each layer; about as much time as LoRA",
        learning_rate=3e-4,
        paper=Paper("DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image Models", "2509.22793"),
    ),
)
