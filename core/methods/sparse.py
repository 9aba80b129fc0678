"""FourierFT, C3A and SHiRA: few trained numbers, spread over the whole weight."""

from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    ExcludingOptions,
    Method,
    MethodOptions,
    Paper,
    PerModule,
    Rank,
    Seed,
    TargetOptions,
    Targets,
)

Frequencies = Annotated[int, Field(ge=1, le=1_000_000)]
BlockSize = Annotated[int, Field(ge=1, le=16384)]


class FourierAdapter(ExcludingOptions):
    """Trains some coefficients of the change's 2-D spectrum (Gao et al. 2024, arXiv:2405.03003)."""

    type: Literal["fourierft"] = "fourierft"
    n_frequency: Frequencies = 1000
    """Coefficients of each weight that are trained"""
    scaling: Annotated[float, Field(gt=0)] = 150.0
    """Scale of the change"""
    random_loc_seed: Seed | None = 777
    """Chooses the places of the coefficients"""
    n_frequency_pattern: PerModule[Frequencies] = Field(default={})
    """Other numbers of them for some modules, by the last parts of their names"""
    init_weights: bool = False
    """False: random coefficients. True: 0, so that training begins at the base model"""


class C3aAdapter(TargetOptions):
    """The change is made of circulant blocks: a convolution (Chen et al. 2024, arXiv:2407.19342)."""

    type: Literal["c3a"] = "c3a"
    block_size: BlockSize = 256
    """Divides inputs and outputs of every target"""
    block_size_pattern: PerModule[BlockSize] = Field(default={})
    """Other sizes for some modules, by the last parts of their names"""
    init_weights: Literal[True, "gaussian", "kaiming_uniform", "xavier_uniform"] = "xavier_uniform"
    """True: 0, so that training begins at the base model"""


class ShiraAdapter(MethodOptions):
    """Trains r (inputs + outputs) entries of each weight (Bhardwaj et al. 2024, arXiv:2406.13175)."""

    type: Literal["shira"] = "shira"
    r: Rank = 32
    """How many entries, as a LoRA of this rank has"""
    mask_type: Literal["random"] = "random"
    """How the entries are chosen"""
    random_seed: Seed | None = None
    """Chooses them; null follows the job's seed"""
    target_modules: Targets = "all-linear"
    """The last parts of modules' names; `all-linear`, our default, is every linear layer but the head"""


METHODS = (
    Method(
        options=FourierAdapter,
        title="FourierFT",
        good_for="Very small adapters, where many are kept",
        cost="n_frequency parameters for each layer; a Fourier transform of each weight's size in every step",
        learning_rate=3e-3,
        paper=Paper("Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", "2405.03003"),
    ),
    Method(
        options=C3aAdapter,
        title="C3A",
        good_for="Changes of full rank with few parameters, on layers whose sizes block_size divides",
        cost="inputs × outputs / block_size parameters for each layer; Fourier transforms in every step",
        learning_rate=1e-1,
        paper=Paper("Parameter-Efficient Fine-Tuning via Circular Convolution", "2407.19342"),
    ),
    Method(
        options=ShiraAdapter,
        title="SHiRA",
        good_for="Adapters that are switched or added up often: they change few entries of the weights",
        cost="As many parameters as LoRA of the same rank, and a gradient of each weight's size",
        learning_rate=1e-4,
        paper=Paper("Sparse High Rank Adapters", "2406.13175"),
    ),
)
