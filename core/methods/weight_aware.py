"""HiRA, GLoRA, PEANuT and DEFT: the change of a weight follows from the weight itself."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    Alpha,
    ExcludingOptions,
    Method,
    MethodOptions,
    Paper,
    PerModule,
    Probability,
    Rank,
    Targets,
)


class HiraAdapter(ExcludingOptions):
    """The change is W ∘ (B A), of W's own rank (Huang et al. 2025, ICLR)."""

    type: Literal["hira"] = "hira"
    r: Rank = 32
    """The rank of B A"""
    hira_dropout: Probability = 0.0
    init_weights: Literal[True, "gaussian"] = True
    """How A is drawn. B is 0 either way, so that training begins at the base model"""
    rank_pattern: PerModule[Rank] = Field(default={})
    """Other ranks for some modules, by the last parts of their names"""


class GloraAdapter(MethodOptions):
    """Scales weights and biases, and adds to them (Chavan et al. 2023, arXiv:2306.07967).

    W becomes W + W ∘ A + B, and a bias b becomes b + b ∘ D + E + W C. Where there is none, A and B are all.
    """

    type: Literal["glora"] = "glora"
    r: Rank = 8
    """The rank of what is `lora`"""
    config_A_B: Literal["lora", "vector", "constant"] = "lora"
    """A and B: products of this rank, a number for each output, or one number"""
    config_C: Literal["lora", "vector", "none"] = "lora"
    """C: a product of this rank, a number for each input, or 0"""
    config_D_E: Literal["vector", "constant", "none"] = "constant"
    """D and E: a number for each output, one number, or 0"""
    target_modules: Targets = "all-linear"
    """The last parts of modules' names; `all-linear`, our default, is every linear layer but the head"""


class PeanutAdapter(ExcludingOptions):
    """The change is what a small network makes of W (Zhong et al. 2024, arXiv:2410.01870)."""

    type: Literal["peanut"] = "peanut"
    r: Rank = 32
    """Width of the network"""
    depth: Annotated[int, Field(ge=0, le=8)] = 0
    """Pairs of layers within it, beside the first and the last"""
    act_fn: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """Its nonlinearity"""
    scaling: Annotated[float, Field(gt=0)] = 1.0
    """Scale of the change"""


class DeftAdapter(ExcludingOptions):
    """Takes a part of rank r out of W and puts another in its place (Kumar et al. 2025, arXiv:2509.22793).

    W becomes (I - P Qᵀ) W + P R, where Q follows from P.
    """

    type: Literal["deft"] = "deft"
    r: Rank = 8
    """The rank of both parts"""
    decomposition_method: Literal["relu", "qr"] = "relu"
    """`relu`: Q is P without its negative entries. `qr`: P is made orthogonal first, and Q is the same"""
    alpha: Alpha | None = None
    """Scale of R, divided by r; null is 1"""
    para: bool = False
    """Only take out: there is no R, and training does not begin at the base model"""
    deft_dropout: Probability = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.para and self.alpha is not None:
            yield "alpha", "it scales R, which para leaves out"


METHODS = (
    Method(
        options=HiraAdapter,
        title="HiRA",
        good_for="Tasks on which LoRA stays behind, with as many parameters",
        cost="r (inputs + outputs) parameters for each layer; the whole change is made in every step",
        learning_rate=2e-3,
    ),
    Method(
        options=GloraAdapter,
        title="GLoRA",
        good_for="Base models with biases, and weights that are to be scaled as well as shifted",
        cost="2 r (inputs + outputs) parameters for each layer; the whole weight is made anew in every step",
        learning_rate=1e-3,
        paper=Paper("One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", "2306.07967"),
    ),
    Method(
        options=PeanutAdapter,
        title="PEANuT",
        good_for="Small adapters that are to change the weights in more than a linear way",
        cost="2 r × outputs parameters for each layer, and 2 r² for each pair within; the whole change is "
        "made in every step",
        learning_rate=5e-4,
        paper=Paper("PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural Tweakers", "2410.01870"),
    ),
    Method(
        options=DeftAdapter,
        title="DEFT",
        good_for="New content while the model is to forget little",
        cost="r (inputs + outputs) parameters for each layer, at about LoRA's time",
        learning_rate=3e-4,
        paper=Paper("DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image Models", "2509.22793"),
    ),
)
