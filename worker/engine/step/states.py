"""A trainee's state: the tensors that a resume needs, by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.storage.file_names import DamagedFile
from worker.engine.parameters.flat import FlatParameters, named_tensors
from worker.engine.step.moments import MOMENTS

PREFIX = "parameters."  # begins the parameters' names in a state


def state_of(parameters: FlatParameters, of_optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters, the method's own tensors and the optimizer's. They are not copies."""
    values = named_tensors({PREFIX.removesuffix("."): parameters.master.detach()}, parameters.extents)
    return {**values, **of_optimizer, **parameters.kept}


def parameters_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters in a trainee's state by their names in the adapter, without PREFIX."""
    return {name.removeprefix(PREFIX): part for name, part in state.items() if name.startswith(PREFIX)}


def has_moments(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(f"{moment}.") for name in state for moment in MOMENTS)


@torch.no_grad()
def copy_into(parts: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy a state's tensors into those of a job. Raises DamagedFile if they are not the same ones."""
    others = parts.keys() ^ state.keys()
    others |= {name for name in parts.keys() & state.keys() if parts[name].shape != state[name].shape}
    if others:
        raise DamagedFile(f"its tensors are not this job's: {', '.join(sorted(others)[:3])}")
    for name, part in parts.items():
        part.copy_(state[name])
