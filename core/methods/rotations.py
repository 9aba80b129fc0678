"""OFT, BOFT, HRA and RoAd: rotations of the weights, or of the layers' outputs."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    MAX_RANK,
    ExcludingOptions,
    Method,
    MethodOptions,
    NoDropout,
    Paper,
    Rank,
    TargetModules,
)

Blocks = Annotated[int, Field(ge=0, le=4096)]


class OftAdapter(ExcludingOptions):
    """W becomes W R, where R has orthogonal blocks on its diagonal (Qiu et al. 2023, arXiv:2306.07280).

    Either r sets the number of blocks, or oft_block_size sets their width. The other one of the two is 0.
    """

    type: Literal["oft"] = "oft"
    r: Annotated[int, Field(ge=0, le=MAX_RANK)] = 0
    """Number of blocks on the diagonal; 0 if oft_block_size sets their width"""
    oft_block_size: Blocks = 32
    """Width of a block; 0 if r sets the number of blocks"""
    module_dropout: NoDropout = 0.0
    coft: Literal[False] = False
    """Not offered: R is not kept near the identity"""
    eps: Annotated[float, Field(ge=6e-5, le=6e-5)] = 6e-5
    """Not offered: it belongs to coft"""
    block_share: bool = False
    """Train one block for each layer, which is repeated along the diagonal"""
    use_cayley_neumann: bool = True
    """Compute the inverse in R with a series, which is faster and less exact"""
    num_cayley_neumann_terms: Annotated[int, Field(ge=1, le=32)] = 5
    """Number of terms of that series"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if (self.r == 0) == (self.oft_block_size == 0):
            yield "oft_block_size", "exactly one of r and oft_block_size must be 0"


class BoftAdapter(ExcludingOptions):
    """OFT in which R is a product of sparse butterfly factors (Liu et al. 2023, arXiv:2311.06243).

    Either boft_block_num sets the number of blocks, or boft_block_size sets their width. The other one of the
    two is 0.
    """

    type: Literal["boft"] = "boft"
    boft_block_size: Blocks = 4
    """Width of a block; 0 if boft_block_num sets the number of blocks"""
    boft_block_num: Blocks = 0
    """Number of blocks on the diagonal; 0 if boft_block_size sets their width"""
    boft_n_butterfly_factor: Annotated[int, Field(ge=1, le=16)] = 1
    """Number of factors of R; 1 is the same as OFT"""
    boft_dropout: NoDropout = 0.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if (self.boft_block_num == 0) == (self.boft_block_size == 0):
            yield "boft_block_num", "exactly one of boft_block_num and boft_block_size must be 0"
        elif self.boft_n_butterfly_factor > 1:
            yield from self._blocks_that_factors_cannot_mix()

    def _blocks_that_factors_cannot_mix(self) -> Iterator[tuple[str, str]]:
        """Yield a reason for each block setting with which the butterfly factors cannot mix the blocks.

        The first factor mixes within blocks. Each further factor mixes the halves of twice as many blocks.
        """
        parts = 2 ** (self.boft_n_butterfly_factor - 1)
        if self.boft_block_size % 2:
            yield "boft_block_size", "with several factors, each block is cut into halves, so it must be even"
        if self.boft_block_num % parts:
            yield (
                "boft_block_num",
                f"the last factor mixes {parts} blocks, so it must be a multiple of {parts}",
            )


class HraAdapter(ExcludingOptions):
    """W becomes W H₁ … H_r, a chain of r reflections (Yuan et al. 2024, arXiv:2405.17484)."""

    type: Literal["hra"] = "hra"
    r: Rank = 8
    """Number of reflections of each weight"""
    apply_GS: bool = False
    """Keep the reflections orthogonal to each other (Gram-Schmidt)"""


class RoadAdapter(MethodOptions):
    """Rotates and scales pairs of a layer's outputs (Liao & Monz 2024, arXiv:2409.00119)."""

    type: Literal["road"] = "road"
    variant: Literal["road_1", "road_2", "road_4"] = "road_1"
    """How many angles and scales are trained: one for each pair (`road_1`), one for each output
    (`road_2`), or two for each output (`road_4`)"""
    group_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Number of outputs in a group, within which pairs are formed; must be even and divide the outputs of
    every target"""
    target_modules: TargetModules = "all-linear"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.group_size % 2:
            yield "group_size", "it must be even"


METHODS = (
    Method(
        options=OftAdapter,
        title="OFT",
        good_for="A new style or subject, when the model should forget little",
        cost="About inputs × oft_block_size / 2 parameters for each layer; slower than LoRA",
        learning_rate=1e-4,
        paper=Paper("Controlling Text-to-Image Diffusion by Orthogonal Finetuning", "2306.07280"),
    ),
    Method(
        options=BoftAdapter,
        title="BOFT",
        good_for="The same as OFT, with fewer parameters for an equally rich rotation",
        cost="Several factors for each layer; several times LoRA's time and memory",
        learning_rate=1e-4,
        paper=Paper("Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", "2311.06243"),
    ),
    Method(
        options=HraAdapter,
        title="HRA",
        good_for="The same as OFT, with a rank that says how much may change",
        cost="r × inputs parameters for each layer; r reflections are computed one after another",
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
        good_for="Many small adapters for one model, and few rows",
        cost="As many parameters as a layer has outputs; twice or four times as many with the other variants",
        learning_rate=1e-3,
        paper=Paper(
            "3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability",
            "2409.00119",
        ),
    ),
)
