"""Full fine-tuning."""

from typing import Literal

from core.methods.method import Method, MethodOptions


class FullTuning(MethodOptions):
    """Trains every weight of the base model. There are no options.

    The result is a whole model instead of an adapter.
    """

    type: Literal["full"] = "full"


METHODS = (
    Method(
        options=FullTuning,
        title="Full fine-tuning",
        good_for="A new language or domain, with many rows, when an adapter does not learn enough",
        cost="16 to 18 bytes of memory for each parameter, in addition to the base model and the "
        "activations. A checkpoint has 12 bytes for each parameter, and the model; the result is as large "
        "as the base model. LoRA comes close for a fraction of this cost",
        learning_rate=2e-5,
        runtimes=("transformers", "vLLM", "SGLang", "llama.cpp (converted)"),
        result="model",
    ),
)
