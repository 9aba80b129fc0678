"""VB-LoRA, Uni-LoRA and TinyLoRA: low-rank changes from few numbers, which layers may share."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import ExcludingOptions, Method, NoDropout, Paper, Rank, Seed, TargetOptions

Length = Annotated[int, Field(ge=1, le=16384)]
Bound = Annotated[float, Field(gt=0, le=1)]


class VbLoraAdapter(ExcludingOptions):
    """All parts of A and B are mixtures of a few vectors from one bank (Li et al. 2024, arXiv:2405.15179)."""

    type: Literal["vblora"] = "vblora"
    r: Rank = 4
    """The rank"""
    num_vectors: Annotated[int, Field(ge=1, le=32767)] = 256
    """Number of vectors in the bank"""
    vector_length: Length = 256
    """Length of each vector; must divide the inputs and outputs of every target"""
    topk: Annotated[int, Field(ge=2, le=64)] = 2
    """Number of vectors that each part is mixed from"""
    vblora_dropout: NoDropout = 0.0
    save_only_topk_weights: bool = False
    """Publish only the weights of those vectors. The file is much smaller, but PEFT cannot train on from
    it"""
    init_vector_bank_bound: Bound = 0.02
    """Largest absolute value of the random numbers that the bank begins with"""
    init_logits_std: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Standard deviation of the random numbers that choose the vectors at the beginning"""

    @property
    def unpublished(self) -> str | None:
        weights = "the weights of the vectors that its parts are not mixed from (save_only_topk_weights)"
        return weights if self.save_only_topk_weights else None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from super().contradictions()
        if self.topk > self.num_vectors:
            yield "topk", f"it must not be above num_vectors, which is {self.num_vectors}"


class UniLoraAdapter(TargetOptions):
    """All entries of all A and B are taken from one trained vector (Li et al. 2025, arXiv:2506.00799).

    A random draw decides once which number each entry takes. The default length of the vector is Tunery's
    own; PEFT's is 256.
    """

    type: Literal["unilora"] = "unilora"
    r: Rank = 4
    """The rank"""
    theta_d_length: Annotated[int, Field(ge=1, le=16_777_216)] = 131_072
    """Length of the vector, which is the number of all trained parameters"""
    proj_seed: Seed = 42
    """Seed of the draw"""
    unilora_dropout: NoDropout = 0.0
    init_theta_d_bound: Bound = 0.02
    """Largest absolute value of the random numbers that the vector begins with"""
    save_indices: bool = False
    """Publish the result of the draw too. Without it the file is only the vector, and loading draws again
    with proj_seed"""


class TinyLoraAdapter(TargetOptions):
    """Turns each weight's largest singular vectors into one another (arXiv:2602.04118).

    The change is B (Σ vᵢ Pᵢ) A. A and B are computed from the weight, the P are random, and the vector v is
    trained.
    """

    type: Literal["tinylora"] = "tinylora"
    r: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of singular vectors of each weight that change"""
    u: Annotated[int, Field(ge=1, le=4096)] = 64
    """Length of v"""
    weight_tying: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far layers share v: 0 gives each layer its own v, 1 gives all layers the same v"""
    projection_seed: Seed = 42
    """Seed of the random matrices"""
    save_projection: Literal[True] = True
    """Publish the random matrices too: another machine might draw other numbers"""
    tinylora_dropout: NoDropout = 0.0


METHODS = (
    Method(
        options=VbLoraAdapter,
        title="VB-LoRA",
        good_for="Very small adapters, with save_only_topk_weights; many adapters",
        cost="One bank of num_vectors vectors, and r (inputs + outputs) / vector_length × num_vectors "
        "parameters for each layer while it trains; slower than LoRA, because vectors are chosen",
        learning_rate=1e-2,
        paper=Paper("VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks", "2405.15179"),
    ),
    Method(
        options=UniLoraAdapter,
        title="Uni-LoRA",
        good_for="Very small adapters of an exact size, whatever the size of the base model",
        cost="theta_d_length parameters in all; every step puts A and B together",
        learning_rate=5e-3,
        paper=Paper("Uni-LoRA: One Vector is All You Need", "2506.00799"),
    ),
    Method(
        options=TinyLoraAdapter,
        title="TinyLoRA",
        good_for="The fewest parameters of all methods, down to u in the whole model; preferences rather "
        "than facts",
        cost="u parameters for each layer, or for all layers together; a singular value decomposition of "
        "each weight when a job joins and when the adapter is loaded",
        learning_rate=2e-3,
        paper=Paper("Learning to Reason in 13 Parameters", "2602.04118"),
    ),
)
