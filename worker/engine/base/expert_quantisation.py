"""Experts in 4 or 8 bits: bitsandbytes' layers hold matrices only, so its functions quantise each expert."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from worker.engine.decoders.layer_weight import dequantised
from worker.engine.kernels.experts.layer import DenseExperts, ExpertWeights
from worker.engine.kernels.experts.modules import QUANTISED, experts_in, parameter_names, weights_of


@dataclass(frozen=True)
class Nf4Experts:
    """Weights in QLoRA's 4 bits: packed numbers and their scales, expert by expert."""

    packed: list[Tensor]
    states: list[Any]
    shape: tuple[int, int, int]
    bias_EN: Tensor | None = None

    @classmethod
    def made_of(cls, dense: DenseExperts) -> "Nf4Experts":
        from bitsandbytes.functional import quantize_4bit

        pairs = [
            quantize_4bit(_matrix(dense, expert), compress_statistics=True, quant_type="nf4")
            for expert in range(dense.shape[0])
        ]
        return cls([packed for packed, _ in pairs], [state for _, state in pairs], dense.shape, dense.bias_EN)

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(self.packed[expert], self.states[expert]).to(dtype)


@dataclass(frozen=True)
class Int8Experts:
    """Weights in 8 bits, with a scale for each output of each expert."""

    int8_ENK: Tensor
    absmax_EN: Tensor
    bias_EN: Tensor | None = None

    @classmethod
    def made_of(cls, dense: DenseExperts) -> "Int8Experts":
        from bitsandbytes.functional import int8_vectorwise_quant

        experts, outputs, inputs = dense.shape
        device = dense.weights.device
        int8_ENK = torch.empty(experts, outputs, inputs, dtype=torch.int8, device=device)
        absmax_EN = torch.empty(experts, outputs, device=device)
        for expert in range(experts):
            matrix = _matrix(dense, expert).to(torch.float16)  # the type that bitsandbytes takes
            int8_ENK[expert], absmax_EN[expert], _ = int8_vectorwise_quant(matrix)
        return cls(int8_ENK, absmax_EN, dense.bias_EN)

    @property
    def shape(self) -> tuple[int, int, int]:
        experts, outputs, inputs = self.int8_ENK.shape
        return experts, outputs, inputs

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        return dequantised(self.int8_ENK[expert], self.absmax_EN[expert], dtype)


FORMATS: dict[str, type[Nf4Experts | Int8Experts]] = {"nf4": Nf4Experts, "int8": Int8Experts}


@torch.no_grad()
def quantise_experts(model: nn.Module, quantization: Literal["nf4", "int8"]) -> None:
    """Hold the weights of all experts in 4 or 8 bits; what else experts have stays as it is.

    In the place of each parameter stands one of the same shape that holds a single NaN. So PEFT finds the
    shape, and nobody computes with it unnoticed.
    """
    for experts in experts_in(model).values():
        held: dict[str, ExpertWeights] = {}
        for name in parameter_names(experts):
            dense = weights_of(experts, name)
            assert isinstance(dense, DenseExperts)
            held[name] = FORMATS[quantization].made_of(dense)
            own = getattr(experts, name)
            nothing = torch.full((), torch.nan, dtype=own.dtype, device=own.device).expand(own.shape)
            setattr(experts, name, nn.Parameter(nothing, requires_grad=False))
        setattr(experts, QUANTISED, held)


def unquantised_bytes(model: nn.Module) -> dict[str, int]:
    """Return the bytes of the weights that stay in 16 bits or more although they are no vectors, by name.

    bitsandbytes quantises linear layers, and this module experts. Embeddings and heads are not counted.
    """
    ends: Any = model
    others = {id(each.weight) for each in (ends.get_input_embeddings(), ends.get_output_embeddings())}
    return {
        name: parameter.nbytes
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and parameter.is_floating_point() and id(parameter) not in others
        if parameter.untyped_storage().nbytes() >= parameter.nbytes and type(parameter) is nn.Parameter
    }


def _matrix(dense: DenseExperts, expert: int) -> Tensor:
    return dense.of(expert, dense.weights.dtype).contiguous()
