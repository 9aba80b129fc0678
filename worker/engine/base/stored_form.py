"""The quantised form of a base model as a file: written after a load, and read instead of the source weights.

The names are those of the model's parameters. A quantised weight is several tensors, whose names go on after
a colon. All weights in nf4 have the same codes and blocks, so these are there once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.quantizers.quantizers_utils import get_module_from_name

from core.catalog import BaseModelEntry
from worker.base_models.quantised_copy import QuantisedCopy
from worker.engine.base.expert_quantisation import Int8Experts, Nf4Experts, hold
from worker.engine.base.in_parts import int8_parameter, nf4_parameter
from worker.engine.base.source import BytesRead, LazyTensor, opened
from worker.engine.decoders.layer_weight import int8_weight_of
from worker.engine.device.free_memory import free_bytes
from worker.engine.kernels.experts.layer import DenseExperts
from worker.engine.kernels.experts.modules import QUANTISED, is_experts

FORM = "form 1"
"""Is another one whenever other bits are written here, or made: by `in_parts`, `expert_quantisation`,
`quantise_embeddings` or `nf4.c`."""

LIBRARIES = ("transformers", "bitsandbytes")  # they decide the parameters, and their bits
CODE, CODE_OF_SCALES, BLOCKS = ":code", ":code of scales", ":blocks"

log = structlog.get_logger()


def copy_of(
    entry: BaseModelEntry,
    folder: Path,
    source_sha256: str,
    device: torch.device,
    dtype: torch.dtype,
    models: Path,
) -> QuantisedCopy:
    """Return the place in the model store for a base model in a folder, as this device holds it."""
    libraries = [f"{name} {version(name)}" for name in LIBRARIES if find_spec(name)]
    form = [entry.precision, device.type, str(dtype).removeprefix("torch.")]
    config = (folder / "config.json").read_text("utf-8")
    return QuantisedCopy.of(models / entry.id, form, [source_sha256, config, FORM, *libraries])


def keep_copy(copy: QuantisedCopy, model: nn.Module) -> None:
    """Write what a quantised model holds into a copy, if the disk and the host's memory allow it."""
    tensors = tensors_of(model)
    size = sum(each.nbytes for each in tensors.values())
    on_gpu = any(each.device.type != "cpu" for each in tensors.values())
    if on_gpu and size > (free := free_bytes(torch.device("cpu"))):
        log.warning(
            "quantised_copy_not_kept", reason="it does not fit the host's memory", free=free, size=size
        )
        return
    copy.keep(partial(_write, tensors), size)


def _write(tensors: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: each.contiguous() for name, each in tensors.items()}, file)


def tensors_of(model: Any) -> dict[str, Tensor]:
    """Return all that a quantised model holds, by the names in the file."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        module, own = get_module_from_name(model, name)
        held = getattr(module, QUANTISED, {}).get(own)
        if isinstance(held, Nf4Experts):
            found |= _in_nf4(name, held.packed, held.states)
        elif isinstance(held, Int8Experts):
            found |= _in_int8(name, held.int8_ENK, held.absmax_EN)
        elif (state := getattr(parameter, "quant_state", None)) is not None:
            found |= _in_nf4(name, [parameter.data], [state])
        elif own == "weight" and (int8 := int8_weight_of(module)) is not None:
            found |= _in_int8(name, *int8)
        else:
            found[name] = parameter.data
    made_anew = {name for name, _ in model.named_non_persistent_buffers()}
    return found | {name: each for name, each in model.named_buffers() if name not in made_anew}


def _in_nf4(name: str, packed: Sequence[Tensor], states: Sequence[Any]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, (numbers, state) in enumerate(zip(packed, states, strict=True)):
        inner = state.state2
        parts = {"packed": numbers, "scales": state.absmax, "offset": state.offset, "outer": inner.absmax}
        found |= {f"{name}:{part} {number}": tensor for part, tensor in parts.items()}
        blocks = torch.tensor([state.blocksize, inner.blocksize])
        found |= {CODE: state.code, CODE_OF_SCALES: inner.code, BLOCKS: blocks}
    return found


def _in_int8(name: str, int8: Tensor, absmax: Tensor) -> dict[str, Tensor]:
    return {f"{name}:int8": int8, f"{name}:absmax": absmax}


class StoredForm:
    """The tensors of such a file, in the place of a model's `SourceWeights`."""

    def __init__(self, file: Path) -> None:
        """Raises OSError and SafetensorError."""
        self._file = opened(file)
        self._names = frozenset(self._file.keys())
        self._common = {name: self._file.get_tensor(name) for name in self._names if name.startswith(":")}
        self.bytes = file.stat().st_size
        self.fault: Exception | None = None
        """Why a tensor could not be read. transformers hides it if the tensor is of a quantised weight."""

    def lazy(self, _dtype: torch.dtype, read: BytesRead) -> dict[str, LazyTensor]:
        """Return all weights by the names of the parameters, each to be read later. `read` hears of each."""

        def tensor(name: str) -> Tensor:
            if (common := self._common.get(name)) is not None:
                return common
            try:
                found: Tensor = self._file.get_tensor(name)
            except (OSError, SafetensorError) as error:
                self.fault = error
                raise
            read(found.nbytes)
            return found

        def weight(name: str) -> Tensor | StoredWeight:
            return tensor(name) if name in self._names else StoredWeight(self._names, tensor, name)

        weights = {name.partition(":")[0] for name in self._names - self._common.keys()}
        return {name: LazyTensor(partial(weight, name)) for name in weights}


@dataclass(frozen=True)
class StoredWeight:
    """One quantised weight of a file. transformers takes it for a tensor until our quantiser gets it."""

    names: frozenset[str]
    tensor: Callable[[str], Tensor]
    name: str
    device: Any = None

    def to(self, device: Any, dtype: torch.dtype | None) -> "StoredWeight":  # noqa: ARG002 - as of a tensor
        return replace(self, device=device)

    def held_by(self, module: Any, name: str) -> nn.Parameter:
        """Let a module hold the weight. Return what stands in the place of the parameter of that name."""
        parameter: Any = getattr(module, name)
        if is_experts(module):
            experts = DenseExperts(parameter, transposed=module.is_transposed)
            return hold(module, name, self._experts(experts.shape, parameter.dtype), self.device)
        if self._is_in_int8:
            return int8_parameter(self._part("int8"), self._part("absmax"))
        return nf4_parameter(module, name, *self._nf4(0, parameter.shape, parameter.dtype))

    def _experts(self, shape: tuple[int, int, int], dtype: torch.dtype) -> Nf4Experts | Int8Experts:
        if self._is_in_int8:
            return Int8Experts(self._part("int8"), self._part("absmax"))
        pairs = [self._nf4(number, shape[1:], dtype) for number in range(shape[0])]
        return Nf4Experts([packed for packed, _ in pairs], [state for _, state in pairs], shape)

    def _nf4(self, number: int, shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Any]:
        """Return the packed numbers of a matrix, and bitsandbytes' description of them."""
        from bitsandbytes.functional import QuantState

        block, outer_block = self.tensor(BLOCKS).tolist()
        outer = QuantState(
            self._part(f"outer {number}"),
            code=self.tensor(CODE_OF_SCALES).to(self.device),
            blocksize=outer_block,
            dtype=torch.float32,
        )
        state = QuantState(
            self._part(f"scales {number}"),
            shape=torch.Size(shape),
            code=self.tensor(CODE).to(self.device),
            blocksize=block,
            quant_type="nf4",
            dtype=dtype,
            offset=self._part(f"offset {number}"),
            state2=outer,
        )
        return self._part(f"packed {number}"), state

    def _part(self, name: str) -> Tensor:
        return self.tensor(f"{self.name}:{name}").to(self.device)

    @property
    def _is_in_int8(self) -> bool:
        return f"{self.name}:int8" in self.names
