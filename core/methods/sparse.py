"""FourierFT, WaveFT, C3A, SHiRA and Super-Tuning: few trained numbers, spread over each whole weight."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    ExcludingOptions,
    Method,
    MethodOptions,
    NoDropout,
    Paper,
    PerModule,
    Rank,
    Seed,
    TargetModules,
    TargetOptions,
)

Frequencies = Annotated[int, Field(ge=1, le=1_000_000)]
BlockSize = Annotated[int, Field(ge=1, le=16384)]


class FourierAdapter(ExcludingOptions):
    """Trains some coefficients of the change's 2-D Fourier spectrum (Gao et al. 2024, arXiv:2405.03003)."""

    type: Literal["fourierft"] = "fourierft"
    n_frequency: Frequencies = 1000
    """Number of coefficients of each weight that are trained"""
    scaling: Annotated[float, Field(gt=0)] = 150.0
    """Scale of the change"""
    random_loc_seed: Seed | None = 777
    """Seed that chooses the places of the coefficients"""
    n_frequency_pattern: PerModule[Frequencies] = Field(default={})
    """Different numbers of coefficients for some modules, by the last parts of the modules' names"""
    init_weights: bool = False
    """The initial coefficients. False: random. True: 0, so that training begins at the base model"""


class WaveAdapter(ExcludingOptions):
    """Trains some wavelet coefficients of the change (Bilican et al. 2025, arXiv:2505.12532)."""

    type: Literal["waveft"] = "waveft"
    n_frequency: Frequencies = 2592
    """Number of coefficients of each weight that are trained"""
    scaling: Annotated[float, Field(gt=0)] = 25.0
    """Scale of the change"""
    wavelet_family: Annotated[str, Field(pattern=r"^(db[1-8]|sym[2-8]|coif[1-5])$")] = "db1"
    """The wavelet: Daubechies (db1, Haar's, to db8), Symlets (sym2 to sym8) or Coiflets (coif1 to coif5)"""
    use_idwt: bool = True
    """Transform the coefficients into the change. False: the coefficients are entries of the change, which
    is faster"""
    random_loc_seed: Seed = 777
    """Seed that chooses the places of the coefficients"""
    n_frequency_pattern: PerModule[Frequencies] = Field(default={})
    """Different numbers of coefficients for some modules, by the last parts of the modules' names"""
    init_weights: bool = True
    """The initial coefficients. True: 0, so that training begins at the base model. False: random"""


class C3aAdapter(TargetOptions):
    """The change is a grid of circulant blocks: a convolution (Chen et al. 2024, arXiv:2407.19342)."""

    type: Literal["c3a"] = "c3a"
    block_size: BlockSize = 256
    """Width of a block; must divide the inputs and outputs of every target"""
    block_size_pattern: PerModule[BlockSize] = Field(default={})
    """Different widths for some modules, by the last parts of the modules' names"""
    init_weights: Literal[True, "gaussian", "kaiming_uniform", "xavier_uniform"] = "xavier_uniform"
    """The initial blocks. True: 0, so that training begins at the base model. The others: random"""


class ShiraAdapter(MethodOptions):
    """Trains r (inputs + outputs) entries of each weight (Bhardwaj et al. 2024, arXiv:2406.13175)."""

    type: Literal["shira"] = "shira"
    r: Rank = 32
    """Number of entries: as many as a LoRA of this rank has parameters"""
    mask_type: Literal["random"] = "random"
    """How the entries are chosen"""
    random_seed: Seed | None = None
    """Seed that chooses the entries; null is derived from the job's seed"""
    target_modules: TargetModules = "all-linear"


class SupertuningAdapter(MethodOptions):
    """Trains the largest entries of each weight, or the smallest (arXiv:2607.09287)."""

    type: Literal["supertuning"] = "supertuning"
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of the entries that stay as they are"""
    select_top: bool = True
    """Train the largest entries. False: the smallest entries"""
    r: Rank | None = None
    """Rank of an additional LoRA; null is none"""
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Scale of that LoRA, divided by r; null is twice the rank"""
    lora_dropout: NoDropout = 0.0
    save_precomputed_indices: Literal[True] = True
    """Publish the places of the entries too: another machine might find other entries"""
    target_modules: TargetModules = "all-linear"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.lora_alpha is not None and self.r is None:
            yield "lora_alpha", "it scales the additional LoRA, which only exists if r is set"


METHODS = (
    Method(
        options=FourierAdapter,
        title="FourierFT",
        good_for="Very small adapters; many adapters",
        cost="n_frequency parameters for each layer; a Fourier transform of each weight's size in every step",
        learning_rate=3e-3,
        paper=Paper("Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", "2405.03003"),
    ),
    Method(
        options=WaveAdapter,
        title="WaveFT",
        good_for="Small adapters of an exact number of parameters, with changes that stay local",
        cost="n_frequency parameters for each layer; a wavelet transform of each weight's size in every step",
        learning_rate=3e-4,
        paper=Paper("Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets", "2505.12532"),
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
        good_for="Adapters that are often switched or added up, because they change few entries of the "
        "weights",
        cost="As many parameters as a LoRA of the same rank, and a gradient as large as each weight",
        learning_rate=1e-4,
        paper=Paper("Sparse High Rank Adapters", "2406.13175"),
    ),
    Method(
        options=SupertuningAdapter,
        title="Super-Tuning",
        good_for="The same as SHiRA, for changing the entries that already matter most; with r, together "
        "with a LoRA",
        cost="(1 - sparsity) of the entries of each weight, and their places; a gradient as large as each "
        "weight",
        learning_rate=1e-3,
    ),
)
