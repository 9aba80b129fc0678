"""Methods that train vectors: (IA)³, VeRA, norms, biases, and single rows of the embedding."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import (
    Method,
    MethodOptions,
    ModuleNames,
    NoDropout,
    NotOffered,
    Paper,
    Seed,
    TargetOptions,
    Targets,
)


class Ia3Adapter(MethodOptions):
    """Trains factors on keys, values and activations inside the MLP (Liu et al. 2022, arXiv:2205.05638)."""

    type: Literal["ia3"] = "ia3"
    target_modules: Targets | None = None
    """The modules to scale. Null: those of the paper, for architectures that PEFT knows"""
    feedforward_modules: ModuleNames | None = None
    """The target modules whose inputs are scaled instead of their outputs; null is those of the paper, for
    architectures that PEFT knows"""
    exclude_modules: NotOffered = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        targets = self.target_modules
        if isinstance(targets, list) and not set(self.feedforward_modules or ()) <= set(targets):
            yield "feedforward_modules", "all of them must be in target_modules too"


class VeraAdapter(TargetOptions):
    """Random A and B that all layers share, with trained scales (Kopiczko et al. 2023, arXiv:2310.11454).

    y = x Wᵀ + b ∘ ((d ∘ x Aᵀ) Bᵀ). Only b and d are trained.
    """

    type: Literal["vera"] = "vera"
    r: Annotated[int, Field(ge=1, le=4096)] = 256
    """Width of the shared A and B"""
    vera_dropout: NoDropout = 0.0
    d_initial: float = 0.1
    """Initial value of every entry of d"""
    projection_prng_key: Seed = 0
    """Seed of A and B"""
    save_projection: Literal[True] = True
    """Publish A and B too: another machine might draw other numbers"""


class LnTuningAdapter(MethodOptions):
    """Trains the norms of the model and nothing else (Zhao et al. 2023, arXiv:2312.11420)."""

    type: Literal["ln_tuning"] = "ln_tuning"
    target_modules: ModuleNames | None = None
    """The norms to train. Null: all norms, for architectures that PEFT knows"""
    exclude_modules: NotOffered = None


class BeftAdapter(MethodOptions):
    """Adds a trained bias to the outputs of some layers (Huang et al. 2025, arXiv:2509.15974)."""

    type: Literal["beft"] = "beft"
    target_modules: Targets | None = None
    """The layers that get a bias. Null: the projections of the values, for architectures that PEFT knows"""


class TrainableTokensAdapter(MethodOptions):
    """Trains some rows of the embedding and nothing else."""

    type: Literal["trainable_tokens"] = "trainable_tokens"
    token_indices: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=4096)]
    """Ids of the tokens to train"""
    target_modules: NotOffered = None
    """Not offered: the input embedding is trained, and the head if the two are tied"""


METHODS = (
    Method(
        options=Ia3Adapter,
        title="(IA)³",
        good_for="Few rows; many small adapters for one model",
        cost="Three vectors for each decoder layer; hardly any memory in addition to the base model",
        learning_rate=5e-3,
        paper=Paper(
            "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
            "2205.05638",
        ),
    ),
    Method(
        options=VeraAdapter,
        title="VeRA",
        good_for="Adapters of a tenth of LoRA's size or less, if the projections are not published; many "
        "adapters",
        cost="r + outputs parameters for each layer; as much time as a LoRA of the same rank, 256 by default",
        learning_rate=4e-3,
        paper=Paper("VeRA: Vector-based Random Matrix Adaptation", "2310.11454"),
    ),
    Method(
        options=LnTuningAdapter,
        title="Norm tuning",
        good_for="A light change of tone or domain; a baseline that every other method should beat",
        cost="A few vectors of the model's width for each decoder layer",
        learning_rate=1e-3,
        paper=Paper(
            "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", "2312.11420"
        ),
    ),
    Method(
        options=BeftAdapter,
        title="BEFT",
        good_for="Very few rows: there are too few parameters to learn the rows by heart",
        cost="One vector for each decoder layer; hardly any memory in addition to the base model",
        learning_rate=5e-3,
        paper=Paper("BEFT: Bias-Efficient Fine-Tuning of Language Models", "2509.15974"),
    ),
    Method(
        options=TrainableTokensAdapter,
        title="Trainable tokens",
        good_for="Tokens that the base model has but hardly knows, such as the reserved tokens of a chat "
        "template",
        cost="As many parameters as the model's width for each token",
        learning_rate=1e-3,
    ),
)
