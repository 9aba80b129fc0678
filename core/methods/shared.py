"""VB-LoRA, Uni-LoRA and TinyLoRA: low-rank changes made of few numbers, which layers may share."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import ExcludingOptions, Method, Paper, Probability, Rank, Seed, TargetOptions

Length = Annotated[int, Field(ge=1, le=16384)]
Bound = Annotated[float, Field(gt=0, le=1)]


class VbLoraAdapter(ExcludingOptions):
    """Parts of A and B are mixtures of a few vectors of one bank (Li et al. 2024, arXiv:2405.15179)."""

    type: Literal["vblora"] = "vblora"
    r: Rank = 4
    """The rank"""
    num_vectors: Annotated[int, Field(ge=1, le=32767)] = 256
    """Vectors in the bank"""
    vector_length: Length = 256
    """Length of each; divides inputs and outputs of every target"""
    topk: Annotated[int, Field(ge=2, le=64)] = 2
    """Vectors that a part is mixed of"""
    vblora_dropout: Probability = 0.0
    save_only_topk_weights: bool = False
    """Publish the shares of those vectors alone. The file is much smaller; PEFT cannot train on from it"""
    init_vector_bank_bound: Bound = 0.02
    """The bank begins with random numbers up to it"""
    init_logits_std: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Deviation of the random numbers by which vectors are chosen at first"""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.topk > self.num_vectors:
            yield "topk", f"there are {self.num_vectors} vectors in the bank (num_vectors)"


class UniLoraAdapter(TargetOptions):
    """All entries of all A and B are taken from one trained vector (Li et al. 2025, arXiv:2506.00799).

    Which is taken where is drawn once. The length of the vector is our own default, PEFT's is 256.
    """

    type: Literal["unilora"] = "unilora"
    r: Rank = 4
    """The rank"""
    theta_d_length: Annotated[int, Field(ge=1, le=16_777_216)] = 131_072
    """Length of the vector: all that is trained"""
    proj_seed: Seed = 42
    """Chooses which number is taken where"""
    unilora_dropout: Probability = 0.0
    init_theta_d_bound: Bound = 0.02
    """The vector begins with random numbers up to it"""
    save_indices: bool = False
    """Publish the choice too. Without, the file is the vector alone, and loading chooses by proj_seed"""


class TinyLoraAdapter(TargetOptions):
    """Turns each weight's largest singular vectors into one another (arXiv:2602.04118).

    The change is B (Σ vᵢ Pᵢ) A: A and B are of the weight, the P are random, and the vector v is trained.
    """

    type: Literal["tinylora"] = "tinylora"
    r: Annotated[int, Field(ge=1, le=64)] = 2
    """Singular vectors of each weight that change"""
    u: Annotated[int, Field(ge=1, le=4096)] = 64
    """Length of v"""
    weight_tying: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of v that layers have in common: 0 gives each its own, 1 gives all the same"""
    projection_seed: Seed = 42
    """Seed of the random matrices"""
    save_projection: bool = True
    """Publish the random matrices too. Without, another machine may draw other numbers"""
    tinylora_dropout: Probability = 0.0


METHODS = (
    Method(
        options=VbLoraAdapter,
        title="VB-LoRA",
        good_for="Very small adapters with save_only_topk_weights, where many are kept",
        cost="One bank of num_vectors vectors, and r (inputs + outputs) / vector_length × num_vectors "
        "parameters for each layer while it trains; choosing vectors takes longer than LoRA",
        learning_rate=1e-2,
        paper=Paper("VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks", "2405.15179"),
    ),
    Method(
        options=UniLoraAdapter,
        title="Uni-LoRA",
        good_for="Very small adapters whose size is named outright, whatever the base model's",
        cost="theta_d_length parameters in all; A and B are put together in every step",
        learning_rate=5e-3,
        paper=Paper("Uni-LoRA: One Vector is All You Need", "2506.00799"),
    ),
    Method(
        options=TinyLoraAdapter,
        title="TinyLoRA",
        good_for="The fewest parameters of all, down to u in the whole model; preferences more than facts",
        cost="u parameters for each layer, or for all; a singular value decomposition of each weight when a "
        "job joins and when the adapter is loaded",
        learning_rate=2e-3,
        paper=Paper("Learning to Reason in 13 Parameters", "2602.04118"),
    ),
)
