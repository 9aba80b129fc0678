"""Quantises weights while transformers reads them, those of experts too.

transformers collects what a weight is made of, merges and converts it, and then asks a quantiser. So beside
what is quantised already, one or two stacks of experts are in memory, or one other weight. bitsandbytes'
layers hold matrices only, so its functions quantise each expert.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.core_model_loading import ConversionOps
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import HfQuantizer, get_module_from_name, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizer_bnb_8bit import Bnb8BitHfQuantizer

from worker.engine.base.in_parts import in_int8, in_nf4, int8_parameter, nf4_parameter
from worker.engine.decoders.layer_weight import dequantised, of_4_bits
from worker.engine.kernels.experts.layer import DenseExperts
from worker.engine.kernels.experts.modules import QUANTISED, is_experts, parameter_names

NF4, INT8 = "tunery_nf4", "tunery_int8"
"""The names of the quantisers in transformers' registry."""


@dataclass(frozen=True)
class Nf4Experts:
    """Weights in QLoRA's 4 bits: packed numbers and their scales, expert by expert."""

    packed: list[Tensor]
    states: list[Any]
    shape: tuple[int, int, int]
    bias_EN: Tensor | None = None

    @classmethod
    def made_of(cls, dense: DenseExperts) -> "Nf4Experts":
        pairs = [in_nf4(_matrix(dense, expert)) for expert in range(dense.shape[0])]
        return cls([packed for packed, _ in pairs], [state for _, state in pairs], dense.shape)

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        return of_4_bits(self.packed[expert], self.states[expert]).to(dtype)


@dataclass(frozen=True)
class Int8Experts:
    """Weights in 8 bits, with a scale for each output of each expert."""

    int8_ENK: Tensor
    absmax_EN: Tensor
    bias_EN: Tensor | None = None

    @classmethod
    def made_of(cls, dense: DenseExperts) -> "Int8Experts":
        experts, outputs, inputs = dense.shape
        device = dense.weights.device
        int8_ENK = torch.empty(experts, outputs, inputs, dtype=torch.int8, device=device)
        absmax_EN = torch.empty(experts, outputs, device=device)
        for expert in range(experts):
            int8_ENK[expert], absmax_EN[expert] = in_int8(_matrix(dense, expert))
        return cls(int8_ENK, absmax_EN)

    @property
    def shape(self) -> tuple[int, int, int]:
        experts, outputs, inputs = self.int8_ENK.shape
        return experts, outputs, inputs

    def of(self, expert: int, dtype: torch.dtype) -> Tensor:
        return dequantised(self.int8_ENK[expert], self.absmax_EN[expert], dtype)


Format = type[Nf4Experts] | type[Int8Experts]


class Quantised(Protocol):
    """A weight that was quantised at an earlier load."""

    def held_by(self, module: Any, name: str) -> nn.Parameter:
        """Let a module hold the weight. Return what stands in the place of the parameter of that name."""


class QuantiseAsRead(ConversionOps):
    """Quantises a weight as soon as transformers has it.

    What is quantised already is taken as it is. So are the embedding and the head, which are quantised later.
    """

    def __init__(self, experts_format: Format) -> None:
        self._format = experts_format

    @torch.no_grad()
    def convert(self, input_dict: dict[str, Any], *, model: Any, **_: Any) -> dict[str, Any]:
        """Return the parameters of `model` for these weights, by name.

        A weight of another shape than its parameter's makes none. So it counts as missing.
        """
        made: dict[str, Any] = {}
        for name, found in input_dict.items():
            module, parameter = get_module_from_name(model, name)
            weight: Tensor | Quantised = found[0] if isinstance(found, list) else found
            if not isinstance(weight, Tensor):
                made[name] = weight.held_by(module, parameter)
                continue
            if issubclass(getattr(module, "source_cls", nn.Linear), Conv1D):
                weight = weight.T
            if weight.shape == getattr(module, parameter).shape:
                made[name] = self._quantised(model, module, parameter, weight)
        return made

    def _quantised(self, model: Any, module: Any, name: str, weight: Tensor) -> Tensor:
        if _is_end(model, module):
            return weight
        if is_experts(module):
            held = self._format.made_of(DenseExperts(weight, transposed=module.is_transposed))
            return hold(module, name, held, weight.device)
        if self._format is Nf4Experts:
            return nf4_parameter(module, name, *in_nf4(weight.contiguous()))
        return int8_parameter(*in_int8(weight.contiguous()))


class _TakesExperts(HfQuantizer):
    """A quantiser that takes the weights of experts too, and is shown the embedding and the head."""

    experts_format: Format

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        module, name = get_module_from_name(model, param_name)
        if _is_of_experts(module, name) or (name == "weight" and _is_end(model, module)):
            return True
        return super().param_needs_quantization(model, param_name, **kwargs)

    def get_quantize_ops(self) -> ConversionOps:
        return QuantiseAsRead(self.experts_format)


@register_quantizer(NF4)
class Nf4Quantizer(_TakesExperts, Bnb4BitHfQuantizer):
    experts_format = Nf4Experts


@register_quantizer(INT8)
class Int8Quantizer(_TakesExperts, Bnb8BitHfQuantizer):
    experts_format = Int8Experts


def taking_experts(config: BitsAndBytesConfig) -> BitsAndBytesConfig:
    """Let a configuration of bitsandbytes name the quantiser that takes experts too."""
    config.quant_method = NF4 if config.load_in_4bit else INT8
    return config


def hold(experts: Any, name: str, held: Nf4Experts | Int8Experts, device: torch.device) -> nn.Parameter:
    """Let a module hold a stack of its weights in 4 or 8 bits. Return what stands in the parameter's place.

    That has the parameter's shape, and holds a single NaN. So PEFT finds the shape, and nobody computes with
    it unnoticed. What else experts have stays as it is.
    """
    setattr(experts, QUANTISED, getattr(experts, QUANTISED, {}) | {name: held})
    parameter: Tensor = getattr(experts, name)
    nothing = torch.full((), torch.nan, dtype=parameter.dtype, device=device).expand(parameter.shape)
    return nn.Parameter(nothing, requires_grad=False)


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


def _is_end(model: Any, module: nn.Module) -> bool:
    return module is model.get_input_embeddings() or module is model.get_output_embeddings()


def _is_of_experts(module: nn.Module, parameter: str) -> bool:
    return is_experts(module) and parameter in parameter_names(module)


def _matrix(dense: DenseExperts, expert: int) -> Tensor:
    return dense.of(expert, dense.weights.dtype).contiguous()
