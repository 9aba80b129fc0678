"""Prefix tuning, prompt tuning and P-tuning: trained vectors before the text, and an unchanged model."""

from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import Method, MethodOptions, NoDropout, NotOffered, Paper

NETWORK = "the network that computes its virtual tokens"

HiddenSize = Annotated[int, Field(ge=1, le=16384)]


class PromptOptions(MethodOptions):
    """The options of a method that trains virtual tokens.

    PEFT has no default for the number of virtual tokens; 20 is Tunery's own.
    """

    num_virtual_tokens: Annotated[int, Field(ge=1, le=512)] = 20
    """Number of trained vectors (virtual tokens); each takes a place in the context"""


class PrefixTuningAdapter(PromptOptions):
    """Trains keys and values before those of the text, in every layer (Li & Liang 2021, arXiv:2101.00190)."""

    type: Literal["prefix_tuning"] = "prefix_tuning"
    init_weights: Literal["zero"] | None = None
    """The initial keys and values. Null: random. `zero`: 0"""
    prefix_projection: bool = False
    """Compute the keys and values with a small network, which is not published"""
    encoder_hidden_size: HiddenSize | None = None
    """Width of that network; null is the model's width"""

    @property
    def unpublished(self) -> str | None:
        return NETWORK if self.prefix_projection else None


class PromptTuningAdapter(PromptOptions):
    """Trains embeddings before those of the text (Lester et al. 2021, arXiv:2104.08691)."""

    type: Literal["prompt_tuning"] = "prompt_tuning"
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB"] = "RANDOM"
    """The initial vectors: random (`RANDOM`), or those of random tokens (`SAMPLE_VOCAB`)"""
    prompt_tuning_init_text: NotOffered = None


class PTuningAdapter(PromptOptions):
    """Prompt tuning with embeddings that a small network computes (Liu et al. 2021, arXiv:2103.10385)."""

    type: Literal["p_tuning"] = "p_tuning"
    encoder_reparameterization_type: Literal["MLP"] = "MLP"
    """The kind of that network"""
    encoder_hidden_size: HiddenSize | None = None
    """Width of that network; null is the model's width"""
    encoder_num_layers: Literal[2] = 2
    """Not offered: only an LSTM has it"""
    encoder_dropout: NoDropout = 0.0

    @property
    def unpublished(self) -> str | None:
        return NETWORK


COST = (
    "As many parameters as the model's width for each virtual token. Virtual tokens lengthen every row, in "
    "training and afterwards"
)

METHODS = (
    Method(
        options=PrefixTuningAdapter,
        title="Prefix tuning",
        good_for="A style or the form of a task, from few rows, with the model's weights unchanged",
        cost="Keys and values of the virtual tokens in each layer, which attention reads for every token",
        learning_rate=5e-3,
        paper=Paper("Prefix-Tuning: Optimizing Continuous Prompts for Generation", "2101.00190"),
    ),
    Method(
        options=PromptTuningAdapter,
        title="Prompt tuning",
        good_for="Simple tasks on large models; replaces a long system prompt",
        cost=COST,
        learning_rate=3e-2,
        paper=Paper("The Power of Scale for Parameter-Efficient Prompt Tuning", "2104.08691"),
    ),
    Method(
        options=PTuningAdapter,
        title="P-tuning",
        good_for="The same as prompt tuning, when prompt tuning learns too slowly or depends on the seed",
        cost=COST,
        learning_rate=1e-3,
        paper=Paper("GPT Understands, Too", "2103.10385"),
    ),
)
