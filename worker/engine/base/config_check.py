"""Checks a model's configuration before transformers loads anything with it."""

from pathlib import Path

from transformers import PretrainedConfig

from core.base_files.loadable import why_not_loadable
from core.catalog import BaseModelEntry
from core.errors import JobError
from worker.engine.base.source import SourceWeights
from worker.engine.base.transformers_class import described_model, is_known_type


def check_config(entry: BaseModelEntry, folder: Path) -> None:
    """Check that the configuration describes a causal model that can be loaded. Raises JobError.

    The model may not be larger than the weights are. transformers would fill the rest with random numbers,
    for which the memory may not suffice.
    """
    fields, _ = PretrainedConfig.get_config_dict(folder)
    if (reason := why_not_loadable(fields, is_known_type)) is not None:
        raise unsupported(entry, reason)
    needed = _parameters(entry, folder)
    try:
        there = SourceWeights(folder).numbers
    except ValueError as error:
        reason = f"its weights do not have the form that its config.json names: {error}."
        raise unsupported(entry, reason) from error
    if needed > there:
        raise unsupported(
            entry, f"its config.json describes {needed:,} parameters, but the weights are {there:,} numbers."
        )


def _parameters(entry: BaseModelEntry, folder: Path) -> int:
    """Return how many parameters the described model has. No memory is taken for them."""
    try:
        model = described_model(folder)
    except OSError:
        raise
    except Exception as error:  # a class of transformers computes with wrong values: it may raise anything
        reason = str(error).replace(str(folder), entry.repository)  # clients read it and must see no path
        raise unsupported(entry, f"its config.json describes no model of this kind: {reason}") from error
    return sum(parameter.numel() for parameter in model.parameters())


def unsupported(entry: BaseModelEntry, reason: str) -> JobError:
    """Return the error of a base model that cannot be trained. Clients read the reason."""
    message = f"The base model {entry.id} cannot be loaded: {reason}"
    return JobError("unsupported_architecture", message, "model")
