"""Attaches an adapter with copies of the modules that PEFT made for an earlier adapter with the same options.

PEFT makes ten modules for each layer that it adapts, and their constructors take most of the time of an
attachment. A copy has the same names, types and options. Its values are drawn by PEFT's and PyTorch's own
functions, in PEFT's order. So an adapter is the same to the bit, whichever way it was attached.

PEFT attaches every adapter itself whose first values need more than these draws: AdaLoRA and orthogonal LoRA.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from core.methods.low_rank import LowRankAdapter
from worker.engine.adapters.modules.own_tree import own_tree
from worker.engine.adapters.saving import PEFT_NAME
from worker.engine.base.base_model import ResidentBase

TEMPLATES = 4  # kept for each base model: an automatic rank tries four
DRAWN = (True, "gaussian")  # the `init_lora_weights` whose values `_draw` draws
CONTAINERS = frozenset({dict, OrderedDict, list, set})


class Template:
    """PEFT's modules for one kind of adapter, with neither values nor modules of the base model.

    No job computes with them or changes them.
    """

    def __init__(self, attached: PeftModel) -> None:
        """Copy the modules of an adapter that PEFT has just attached."""
        tree = attached.get_base_model()
        layers = dict(_lora_layers(tree))
        self._wrapper: Any = _copied(attached, _without_values, left_out={tree})
        self._wrapper.base_model.peft_config = copy.deepcopy(attached.peft_config)
        self._layers = {
            name: _copied(layer, _without_values, left_out={layer.base_layer})
            for name, layer in layers.items()
        }
        self._adapted = {name: ref(layer.base_layer) for name, layer in layers.items()}

    def attach(self, base_model: nn.Module) -> PeftModel | None:
        """Return an adapter on a tree of its own, whose values the global random generator gives.

        Return None if the base model no longer has the layers that PEFT has adapted.
        """
        tree = own_tree(base_model)
        modules = dict(tree.named_modules())
        if any(modules.get(name) is not layer() for name, layer in self._adapted.items()):
            return None
        init_lora_weights = self._wrapper.peft_config[PEFT_NAME].init_lora_weights
        for name, template in self._layers.items():
            parent, _, child = name.rpartition(".")
            layer = _copied(template, _empty_like)
            layer._modules["base_layer"] = modules[name]
            modules[parent]._modules[child] = layer
            _draw(layer, init_lora_weights)
        return self._wrapped(tree)

    def _wrapped(self, tree: Any) -> PeftModel:
        """Put PEFT's model, with a configuration of its own, around the tree."""
        model: PeftModel = _copied(self._wrapper, _without_values)
        model.base_model.model = tree
        model.base_model.peft_config = tree.peft_config = copy.deepcopy(self._wrapper.peft_config)
        return model


_templates: WeakKeyDictionary[ResidentBase, dict[str, Template]] = WeakKeyDictionary()  # the newest use last


def attach_from_template(base: ResidentBase, spec: LowRankAdapter) -> PeftModel | None:
    """Return an adapter with these options, or None if only PEFT can attach it."""
    templates, options = _templates.setdefault(base, {}), repr(spec)
    template = templates.pop(options, None)
    if template is None or (attached := template.attach(base.model)) is None:
        return None
    templates[options] = template
    return attached


def keep_template(base: ResidentBase, spec: LowRankAdapter, attached: PeftModel) -> None:
    """Let the next adapters with these options be attached like this one, to which nothing has happened yet.

    The template that was not used for the longest time makes way.
    """
    if not _can_be_drawn(attached):
        return
    templates = _templates.setdefault(base, {})
    templates[repr(spec)] = Template(attached)
    if len(templates) > TEMPLATES:
        del templates[next(iter(templates))]


def _can_be_drawn(attached: PeftModel) -> bool:
    """Return whether `_draw` draws the values of these layers: layers of some classes are made otherwise."""
    return attached.peft_config[PEFT_NAME].init_lora_weights in DRAWN and all(
        type(layer).update_layer is LoraLayer.update_layer
        for _, layer in _lora_layers(attached.get_base_model())
    )


def _lora_layers(tree: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield PEFT's layers with their names, in the order in which PEFT has made them."""
    for name, module in tree.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _draw(layer: Any, init_lora_weights: Any) -> None:
    """Set A and B as `LoraLayer.update_layer` does, from the same draws.

    It makes A and B by `nn.Linear`, whose draws are lost, then draws A on the CPU in PyTorch's default type,
    and gives it the type and device of the base layer.
    """
    A, B = layer.lora_A[PEFT_NAME].weight, layer.lora_B[PEFT_NAME].weight
    torch.empty(A.numel() + B.numel()).uniform_()
    example, A.data = A.data, torch.empty(A.shape)
    layer.reset_lora_parameters(PEFT_NAME, init_lora_weights)
    A.data = A.data.to(example)


def _copied(
    module: nn.Module,
    parameter_like: Callable[[nn.Parameter], nn.Parameter],
    left_out: Collection[nn.Module] = (),
) -> Any:
    """Return a copy of the modules with other parameters; the extent of a module in `left_out` is empty."""
    own = object.__new__(type(module))
    options = vars(own)
    options.update(vars(module))
    for name, value in vars(module).items():
        if type(value) in CONTAINERS:
            options[name] = value.copy()
    for name, parameter in module._parameters.items():
        if parameter is not None:
            own._parameters[name] = parameter_like(parameter)
    for name, child in module._modules.items():
        if child is not None:
            own._modules[name] = None if child in left_out else _copied(child, parameter_like, left_out)
    return own


def _without_values(parameter: nn.Parameter) -> nn.Parameter:
    """Return a parameter with the same shape, type and device that holds a single number."""
    return nn.Parameter(parameter.detach().new_zeros(()).expand(parameter.shape))


def _empty_like(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().new_empty(parameter.shape))
