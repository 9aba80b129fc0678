"""Prefix tuning, prompt tuning and P-tuning: nothing of the model changes, vectors stand before the text."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from core.methods.method import Method, MethodOptions, Paper, Probability

HiddenSize = Annotated[int, Field(ge=1, le=16384)]


class PromptOptions(MethodOptions):
    """Of a method that trains virtual tokens. PEFT has no default for their number; 20 is our own."""

    num_virtual_tokens: Annotated[int, Field(ge=1, le=512)] = 20
    """Vectors that are trained; each takes a place of the context"""


class PrefixTuningAdapter(PromptOptions):
    """Trained keys and values before the text's, in every layer (Li & Liang 2021, arXiv:2101.00190)."""

    type: Literal["prefix_tuning"] = "prefix_tuning"
    init_weights: Literal["zero"] | None = None
    """Null: random. `zero` begins at keys and values of 0"""
    prefix_projection: bool = False
    """Make keys and values by a small network, which is not published"""
    encoder_hidden_size: HiddenSize | None = None
    """Width of that network; null is the model's"""


class PromptTuningAdapter(PromptOptions):
    """Trained embeddings before those of the text (Lester et al. 2021, arXiv:2104.08691)."""

    type: Literal["prompt_tuning"] = "prompt_tuning"
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] = "RANDOM"
    """Begin with random vectors, those of random tokens, or those of a text"""
    prompt_tuning_init_text: Annotated[str, Field(min_length=1, max_length=8192)] | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if (self.prompt_tuning_init == "TEXT") != (self.prompt_tuning_init_text is not None):
            yield "prompt_tuning_init_text", "it belongs to the prompt_tuning_init TEXT, which needs it"


class PTuningAdapter(PromptOptions):
    """As prompt tuning, the embeddings made by a small network (Liu et al. 2021, arXiv:2103.10385)."""

    type: Literal["p_tuning"] = "p_tuning"
    encoder_reparameterization_type: Literal["MLP", "LSTM"] = "MLP"
    encoder_hidden_size: HiddenSize | None = None
    """Null is the model's width"""
    encoder_num_layers: Annotated[int, Field(ge=1, le=8)] = 2
    """Of an LSTM"""
    encoder_dropout: Probability = 0.0
    """Of an LSTM"""


COST = "The model's width for each virtual token. They lengthen every row, in training and afterwards"

METHODS = (
    Method(
        options=PrefixTuningAdapter,
        title="Prefix tuning",
        good_for="A style or a task's form, from few rows, with the model's weights untouched",
        cost="Keys and values of the virtual tokens for each layer, which attention reads for every token",
        learning_rate=5e-3,
        paper=Paper("Prefix-Tuning: Optimizing Continuous Prompts for Generation", "2101.00190"),
    ),
    Method(
        options=PromptTuningAdapter,
        title="Prompt tuning",
        good_for="Simple tasks on large models; a stand-in for a long system prompt",
        cost=COST,
        learning_rate=3e-2,
        paper=Paper("The Power of Scale for Parameter-Efficient Prompt Tuning", "2104.08691"),
    ),
    Method(
        options=PTuningAdapter,
        title="P-tuning",
        good_for="As prompt tuning, where that learns too slowly or depends on the seed",
        cost=COST,
        learning_rate=1e-3,
        paper=Paper("GPT Understands, Too", "2103.10385"),
    ),
)
