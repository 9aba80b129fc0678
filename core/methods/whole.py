"""Full fine-tuning."""

from typing import Literal

from core.methods.method import Method, MethodOptions


class FullTuning(MethodOptions):
    """Trains every weight of the base model; the result is a model, no adapter. There are no options."""

    type: Literal["full"] = "full"


METHODS = (
    Method(
        options=FullTuning,
        title="Full fine-tuning",
        good_for="A new language or domain from many rows, where an adapter stays behind",
        cost="16 to 18 bytes of memory for every parameter, beside the base model and the activations. A "
        "checkpoint has 12 and the model; the result is as large as the base model. LoRA comes close for a "
        "fraction of it",
        learning_rate=2e-5,
        runtimes=("transformers", "vLLM", "SGLang", "llama.cpp (converted)"),
        result="model",
    ),
)
