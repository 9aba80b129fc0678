"""The source weights of a base model, read from its files one tensor at a time."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor


class SourceWeights:
    """The tensors of the safetensors files in a folder. Nothing is held in memory."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        """List the tensors in the files. Their names may lack the `prefix` of the names in the model."""
        self._prefix = prefix
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                self._files |= dict.fromkeys(opened.keys(), file)

    def tensor(self, name: str) -> Tensor | None:
        """Return a parameter by its name in the model, on the CPU; None if the files do not have it."""
        for known in (name, name.removeprefix(f"{self._prefix}.")):
            if known in self._files:
                with safe_open(self._files[known], framework="pt") as opened:
                    found: Tensor = opened.get_tensor(known)
                    return found
        return None
