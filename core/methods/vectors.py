"""Methods that train vectors: (IA)³, VeRA, norms, biases, and single rows of the embedding."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    Method,
    MethodOptions,
    ModuleNames,
    Paper,
    Probability,
    Seed,
    TargetOptions,
    Targets,
)


class Ia3Adapter(MethodOptions):
    """Trained factors on keys, values and activations within the MLP (Liu et al. 2022, arXiv:2205.05638)."""

    type: Literal["ia3"] = "ia3"
    target_modules: Targets | None = None
    """Null: those of the paper, in architectures that PEFT knows"""
    feedforward_modules: ModuleNames | None = None
    """Of the targets, those whose inputs are scaled and not their outputs; null as above"""
    exclude_modules: ModuleNames | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        targets = self.target_modules
        if isinstance(targets, list) and not set(self.feedforward_modules or ()) <= set(targets):
            yield "feedforward_modules", "all of them must stand in target_modules too"


class VeraAdapter(TargetOptions):
    """Random A and B that all layers share, with trained scales (Kopiczko et al. 2023, arXiv:2310.11454).

    y = x Wᵀ + b ∘ ((d ∘ x Aᵀ) Bᵀ), of which b and d are trained.
    """

    type: Literal["vera"] = "vera"
    r: Annotated[int, Field(ge=1, le=4096)] = 256
    """Width of the shared A and B"""
    vera_dropout: Probability = 0.0
    d_initial: float = 0.1
    """What every entry of d begins with"""
    projection_prng_key: Seed = 0
    """Seed of A and B"""
    save_projection: bool = True
    """Publish A and B too. Without, the file is much smaller, but another machine may draw other numbers"""


class LnTuningAdapter(MethodOptions):
    """Trains the norms of the model, and nothing else (Zhao et al. 2023, arXiv:2312.11420)."""

    type: Literal["ln_tuning"] = "ln_tuning"
    target_modules: ModuleNames | None = None
    """Null: all norms, in architectures that PEFT knows"""
    exclude_modules: ModuleNames | None = None


class BeftAdapter(MethodOptions):
    """Adds a trained bias to some layers' outputs (Huang et al. 2025, arXiv:2509.15974)."""

    type: Literal["beft"] = "beft"
    target_modules: Targets | None = None
    """Null: the values' projections, in architectures that PEFT knows"""


class TrainableTokensAdapter(MethodOptions):
    """Trains some rows of the embedding, and nothing else."""

    type: Literal["trainable_tokens"] = "trainable_tokens"
    token_indices: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=4096)]
    """Ids of the tokens to train"""
    target_modules: ModuleNames | None = None
    """Null: the input embedding, and the head where the two are tied"""


METHODS = (
    Method(
        options=Ia3Adapter,
        title="(IA)³",
        good_for="Few rows; many small adapters of one model",
        cost="Three vectors for each decoder layer; hardly any memory beside the base model",
        learning_rate=5e-3,
        paper=Paper(
            "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
            "2205.05638",
        ),
    ),
    Method(
        options=VeraAdapter,
        title="VeRA",
        good_for="Adapters of a tenth of LoRA's size or less, without the projections; where many are kept",
        cost="r + outputs parameters for each layer, at the time of a LoRA of the same rank, here 256",
        learning_rate=4e-3,
        paper=Paper("VeRA: Vector-based Random Matrix Adaptation", "2310.11454"),
    ),
    Method(
        options=LnTuningAdapter,
        title="Norm tuning",
        good_for="A light change of tone or domain; a baseline that every other method should beat",
        cost="Some vectors of the model's width for each decoder layer",
        learning_rate=1e-3,
        paper=Paper(
            "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", "2312.11420"
        ),
    ),
    Method(
        options=BeftAdapter,
        title="BEFT",
        good_for="Very few rows: there is hardly anything that could be learnt by heart",
        cost="A vector for each decoder layer; hardly any memory beside the base model",
        learning_rate=5e-3,
        paper=Paper("BEFT: Bias-Efficient Fine-Tuning of Language Models", "2509.15974"),
    ),
    Method(
        options=TrainableTokensAdapter,
        title="Trainable tokens",
        good_for="Tokens that the base model has but hardly knows, such as reserved ones of a chat template",
        cost="The model's width for each token",
        learning_rate=1e-3,
    ),
)
