"""OFT, BOFT, HRA and RoAd: rotations of the weights, or of what they give."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    MAX_RANK,
    ExcludingOptions,
    Method,
    MethodOptions,
    Paper,
    Probability,
    Rank,
    Targets,
)

Blocks = Annotated[int, Field(ge=0, le=4096)]


class OftAdapter(ExcludingOptions):
    """W becomes W R, R of orthogonal blocks on the diagonal (Qiu et al. 2023, arXiv:2306.07280).

    There are r blocks, or blocks of oft_block_size; the other one of the two is 0.
    """

    type: Literal["oft"] = "oft"
    r: Annotated[int, Field(ge=0, le=MAX_RANK)] = 0
    """Blocks on the diagonal; 0 where oft_block_size says how large they are"""
    oft_block_size: Blocks = 32
    """Width of a block; 0 where r says how many there are"""
    module_dropout: Probability = 0.0
    """Share of the blocks that do nothing in a step"""
    coft: bool = False
    """Keep R within eps of the identity"""
    eps: Annotated[float, Field(gt=0)] = 6e-5
    block_share: bool = False
    """One block for all of a layer"""
    use_cayley_neumann: bool = True
    """Compute the inverse within R by a series, which is faster and less exact"""
    num_cayley_neumann_terms: Annotated[int, Field(ge=1, le=32)] = 5
    """Terms of the series that use_cayley_neumann takes"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if (self.r == 0) == (self.oft_block_size == 0):
            yield "oft_block_size", "either r or it must be 0, and not both"


class BoftAdapter(ExcludingOptions):
    """OFT whose R is a product of sparse butterfly factors (Liu et al. 2023, arXiv:2311.06243).

    There are boft_block_num blocks, or blocks of boft_block_size; the other one of the two is 0.
    """

    type: Literal["boft"] = "boft"
    boft_block_size: Blocks = 4
    """Width of a block; 0 where boft_block_num says how many there are"""
    boft_block_num: Blocks = 0
    """Blocks on the diagonal; 0 where boft_block_size says how large they are"""
    boft_n_butterfly_factor: Annotated[int, Field(ge=1, le=16)] = 1
    """Factors of R; 1 is OFT"""
    boft_dropout: Probability = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if (self.boft_block_num == 0) == (self.boft_block_size == 0):
            yield "boft_block_num", "either boft_block_size or it must be 0, and not both"
        elif self.boft_n_butterfly_factor > 1:
            yield from self._blocks_that_factors_cannot_mix()

    def _blocks_that_factors_cannot_mix(self) -> Iterator[tuple[str, str]]:
        """Each factor beyond the first mixes the halves of twice as many blocks."""
        parts = 2 ** (self.boft_n_butterfly_factor - 1)
        if self.boft_block_size % 2:
            yield "boft_block_size", "blocks of several factors are cut into halves, so it must be even"
        if self.boft_block_num % parts:
            yield "boft_block_num", f"the last factor mixes {parts} blocks, so it must be a multiple of that"


class HraAdapter(ExcludingOptions):
    """W becomes W H₁ … H_r, a chain of r reflections (Yuan et al. 2024, arXiv:2405.17484)."""

    type: Literal["hra"] = "hra"
    r: Rank = 8
    """Reflections of each weight"""
    apply_GS: bool = False
    """Keep the reflections orthogonal to one another (Gram-Schmidt)"""


class RoadAdapter(MethodOptions):
    """Turns and scales pairs of a layer's outputs (Liao & Monz 2024, arXiv:2409.00119)."""

    type: Literal["road"] = "road"
    variant: Literal["road_1", "road_2", "road_4"] = "road_1"
    """Angles and scales: one for a pair, one for each output, or two for each"""
    group_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Outputs among which pairs are made; even, and divides the outputs of every target"""
    target_modules: Targets = "all-linear"
    """The last parts of modules' names; `all-linear`, our default, is every linear layer but the head"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.group_size % 2:
            yield "group_size", "it must be even"


METHODS = (
    Method(
        options=OftAdapter,
        title="OFT",
        good_for="A new style or subject while the model is to forget little",
        cost="About half of inputs × oft_block_size parameters for each layer; slower than LoRA",
        learning_rate=1e-4,
        paper=Paper("Controlling Text-to-Image Diffusion by Orthogonal Finetuning", "2306.07280"),
    ),
    Method(
        options=BoftAdapter,
        title="BOFT",
        good_for="As OFT, with fewer parameters for as rich a rotation",
        cost="Several factors for each layer; several times LoRA's time and memory",
        learning_rate=1e-4,
        paper=Paper("Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", "2311.06243"),
    ),
    Method(
        options=HraAdapter,
        title="HRA",
        good_for="As OFT, at a rank that says how much may change",
        cost="r × inputs parameters for each layer; r reflections one after another",
        learning_rate=1e-4,
        paper=Paper(
            "Bridging The Gap between Low-rank and Orthogonal Adaptation "
            "via Householder Reflection Adaptation",
            "2405.17484",
        ),
    ),
    Method(
        options=RoadAdapter,
        title="RoAd",
        good_for="Many small adapters of one model, and few rows",
        cost="As many parameters as outputs for each layer, twice or four times that with other variants",
        learning_rate=1e-3,
        paper=Paper(
            "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability",
            "2409.00119",
        ),
    ),
)
