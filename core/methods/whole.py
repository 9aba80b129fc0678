"""Full fine-tuning."""

from typing import Literal

from core.methods.method import Method, MethodOptions


class FullTuning(MethodOptions):
    """Trains every weight of the base model; the result is a model, no adapter."""

    type: Literal["full"] = "full"


METHODS = (
    Method(
        options=FullTuning,
        title="Full fine-tuning",
        good_for="A new language or domain from many rows, where an adapter stays behind",
        cost="Some 16 bytes of memory for every parameter of the model, and a file of the model's size",
        learning_rate=1e-5,
        runtimes=("transformers", "vLLM", "SGLang", "llama.cpp (converted)"),
    ),
)
