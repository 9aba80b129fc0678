"""Errors for adapters that cannot be trained on a base model, shared by several methods."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from core.errors import JobError
from core.methods.method import MethodOptions
from core.methods.registry import METHODS


def refused_by_peft(options: MethodOptions, error: Exception) -> JobError:
    """Make the error for an adapter that PEFT cannot attach or compute, with PEFT's own reason."""
    title = METHODS[options.type].title
    message = f"{title} with these options cannot be trained on this base model: {error}"
    return JobError("invalid_adapter", message, "adapter")


def initialisation_refused(message: str) -> JobError:
    """Make the error for an `init_lora_weights` that does not work with the base model or the rows."""
    return JobError("invalid_adapter", message, "adapter.init_lora_weights")


def refuse_unknown_tokens(model: Any, tokens: Collection[int], param: str) -> None:
    """Raise JobError if one of the tokens is not in the model's vocabulary."""
    words = model.get_input_embeddings().num_embeddings
    if tokens and max(tokens) >= words:
        message = f"Token {max(tokens)} is not in this base model, whose vocabulary has {words} tokens."
        raise JobError("invalid_adapter", message, param)


def refuse_other_adapter(own: Mapping[str, Tensor], published: Mapping[str, Tensor]) -> None:
    """Raise JobError unless a published adapter has the same parameters as the job's `own` adapter."""
    fitting = {name for name in own if name in published and published[name].shape == own[name].shape}
    if others := sorted((own.keys() | published.keys()) - fitting):
        raise other_adapter(f"{others[0]} differs in its shape, or only one of the two has it.")


def other_adapter(difference: str) -> JobError:
    """Make the error for a published adapter that differs from the one that continues from it."""
    message = f"The model from which the job continues has another adapter than this job: {difference}"
    return JobError("invalid_adapter", message, "model")


def refuse_missing_ranks(module: str, rank: int, most: int) -> None:
    """Raise JobError if a module's rank is above `most`, the number of ranks that its initial values have."""
    if rank > most:
        message = f"{module} cannot begin with rank {rank}; lower the rank to {most}."
        raise JobError("invalid_adapter", message, "adapter.r")
