"""Reads a published adapter, or model, so that a job can continue from it."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from core.methods.low_rank import LoraAdapter
from core.methods.method import MethodOptions
from core.storage.file_names import WEIGHTS_NAME
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.residual import without_residual
from worker.engine.adapters.saving import parameters_of
from worker.engine.base.loading import load_plain

Published = Mapping[str, Tensor]
"""An adapter's tensors, by PEFT's names in the file, or a whole model's, by the names of its parameters."""


def read_published(folder: Path) -> Published:
    """Return the tensors of the adapter or model whose files are in the folder.

    Raises SafetensorError or FileNotFoundError if the files cannot be read.
    """
    if (folder / WEIGHTS_NAME).exists():
        return load_file(folder / WEIGHTS_NAME)
    # transformers knows under which names it has saved the parameters
    model = load_plain(folder, "auto")
    return {name: parameter.data for name, parameter in model.named_parameters()}


def first_values(adapter: MethodOptions, published: Published) -> InitialValues:
    """Return the values with which an adapter is attached that continues from the published one.

    Only an initialisation that would compute the values needs them so early: the adapter loads all of its
    values after it has been attached.
    """
    if not isinstance(adapter, LoraAdapter):
        return {}
    if adapter.begins_with_weights:
        return without_residual(parameters_of(published))[0]
    return parameters_of(published) if adapter.needs_initial_values else {}
