"""Copies a model's tree of modules, but not its layers."""

import copy
from typing import Any

from torch import nn


def own_tree(model: nn.Module) -> nn.Module:
    """Return the same layers, with the same weights, in copies of the modules that contain them.

    PEFT may wrap or replace a layer in this tree while others compute with the model, which does not change.
    """
    copies: dict[nn.Module, nn.Module] = {}

    def copied(module: nn.Module) -> nn.Module:
        if not module._modules:
            return module
        if module not in copies:
            own = copies[module] = object.__new__(type(module))  # FSDP's classes have another `__new__`
            vars(own).update(vars(module))
            own._parameters, own._buffers = dict(module._parameters), dict(module._buffers)
            own._modules = {name: child and copied(child) for name, child in module._modules.items()}
        return copies[module]

    return copied(model)


def tree_with_own_config(model: nn.Module) -> Any:
    """Return a tree whose attention can be set while others compute with the model."""
    tree = own_tree(model)
    copies: dict[int, Any] = {}
    copy.deepcopy(model.config, copies)
    for module in tree.modules():
        if module._modules and id(getattr(module, "config", None)) in copies:
            module.config = copies[id(module.config)]
    return tree
