"""The source weights of a base model, read from its files one tensor at a time, and never quantised.

A tensor is read into memory of its own. If files were mapped, what was read of them would count as the
process's memory, and stay beside the model.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PretrainedConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from core.base_files.loadable import quantised_source
from worker.engine.base.source_formats import Shape, SourceFormat, format_of

INDEX = "model.safetensors.index.json"
BITS = re.compile(r"\d+")  # of a number, in the name of its type, such as BF16 or F8_E4M3

BytesRead = Callable[[int], object]
"""Hears how many bytes of the files have been read for a weight."""


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read, and computed if the file has it quantised, when it is indexed with `...`."""

    read: Callable[[], Any]

    def __getitem__(self, _everything: Any) -> Any:
        return self.read()


class SourceWeights:
    """The tensors of a base model's safetensors files, by their names there. Nothing is held in memory.

    A weight in FP8 or mxfp4 has the name and the shape that it would have if it were not quantised.
    """

    def __init__(self, folder: Path) -> None:
        """List the tensors in the files. Raises ValueError if the weights are quantised in another way."""
        self._files: dict[str, Path] = {}
        self._bytes: dict[str, int] = {}
        for file in _weight_files(folder):
            with opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 (it is not a mapping)
                    self._files[name] = file
                    self._bytes[name] = _bytes(tensors.get_slice(name))
        fields, _ = PretrainedConfig.get_config_dict(folder)
        found = quantised_source(fields)
        self._format: SourceFormat | None = format_of(found) if found else None
        self._quantised = self._quantised_weights()
        parts = {name for weight in self._quantised for name in self._parts(weight)}
        beside = self._format.beside if self._format else ()
        plain = {name for name in self._files.keys() - parts if not name.endswith(tuple(beside))}
        self._names = sorted(plain | self._quantised)
        self._refuse_numbers_without_scales(plain)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @property
    def is_quantised(self) -> bool:
        return self._format is not None

    @property
    def bytes(self) -> int:
        """How many bytes of the files all weights take."""
        return sum(map(self._bytes_of, self))

    @property
    def numbers(self) -> int:
        """How many numbers all weights have, by the headers of the files."""
        return sum(prod(self.shape(name)) for name in self)

    def shape(self, name: str) -> Shape:
        """Return a weight's shape."""
        if self._format is None or name not in self._quantised:
            return self._read(name, _shape)
        return self._format.shape(self._read(self._parts(name)[0], _shape))

    def tensor(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a weight on the CPU: in `dtype` if the file has it quantised, else in the file's type."""
        if self._format is None or name not in self._quantised:
            found: Tensor = self._read(name, _whole)
            return found
        numbers, scales = self._parts(name)
        with opened(self._files[numbers]) as numbers_file, opened(self._files[scales]) as scales_file:
            slices = numbers_file.get_slice(numbers), scales_file.get_slice(scales)
            return self._format.weight(*slices, dtype)

    def lazy(self, dtype: torch.dtype, read: BytesRead = lambda _: None) -> dict[str, LazyTensor]:
        """Return all weights by their names, each to be read later. `read` hears of each."""

        def tensor(name: str) -> Tensor:
            found = self.tensor(name, dtype)
            read(self._bytes_of(name))
            return found

        return {name: LazyTensor(partial(tensor, name)) for name in self}

    def names_in(self, model: Any) -> Mapping[str, str]:
        """Return the names in the files by the names of a model's parameters, which may be others."""
        conversions = get_model_conversion_mapping(model)
        renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
        own = dict(model.named_parameters(remove_duplicate=False))
        prefix = model.base_model_prefix
        return {rename_source_key(name, renamings, [], prefix, own)[0]: name for name in self}

    def _quantised_weights(self) -> set[str]:
        """Return the names of the weights that the files have quantised."""
        if self._format is None:
            return set()
        ending = self._format.scales
        stems = {name.removesuffix(ending) for name in self._files if name.endswith(ending)}
        return {stem for stem in stems if stem + self._format.numbers in self._files}

    def _refuse_numbers_without_scales(self, names: Iterable[str]) -> None:
        """Raise ValueError for a weight in 8 bits that would be read as if its scale were 1."""
        for name in names if self._format else ():
            if (kind := self._read(name, _kind)).startswith("F8"):
                raise ValueError(f"{name} is in {kind}, and its scales have no name that is known here")

    def _parts(self, weight: str) -> tuple[str, str]:
        assert self._format is not None
        return weight + self._format.numbers, weight + self._format.scales

    def _bytes_of(self, weight: str) -> int:
        parts = self._parts(weight) if weight in self._quantised else (weight,)
        return sum(self._bytes[part] for part in parts)

    def _read(self, name: str, part: Callable[[Any], Any]) -> Any:
        with opened(self._files[name]) as tensors:
            return part(tensors.get_slice(name))


def opened(file: Path) -> Any:
    """Return the tensors of a file, to be read in a `with` block. The file is not mapped."""
    return safe_open(file, framework="pt", backend="pread")


def _whole(found: Any) -> Tensor:
    tensor: Tensor = found[...]
    return tensor


def _bytes(found: Any) -> int:
    bits = BITS.search(found.get_dtype())
    return prod(found.get_shape()) * (int(bits[0]) if bits else 8) // 8  # a truth value takes a byte


def _kind(found: Any) -> str:
    return str(found.get_dtype())


def _shape(found: Any) -> Shape:
    return tuple(found.get_shape())


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads. A folder may have the same weights in another layout too."""
    index = folder / INDEX
    if index.exists():
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return sorted({folder / name for name in named})
    return [folder / "model.safetensors"] if (folder / "model.safetensors").exists() else []
