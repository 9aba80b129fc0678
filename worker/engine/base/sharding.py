"""A frozen base model spread over the processes, layer by layer, for one that a device alone cannot hold.

PyTorch's FSDP2 (Zhao et al. 2023, arXiv:2304.11277): each process keeps a part of every decoder layer, and a
layer is gathered for the time of its forward and of its backward pass. Embeddings, norms outside of the
layers and the head stay whole on each process, and so do adapters, which are attached later.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from worker.engine.base.portable import body_of


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Spread a model that lies in the host's memory. Raises ValueError where its layers are not known."""
    body = body_of(model)
    layers = _decoder_layers(model, body)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)  # moves this layer to the device, and keeps the process's part of it
    spread = {parameter for layer in layers for parameter in layer.parameters()}
    fully_shard(body, mesh=mesh, ignored_params=set(body.parameters()) - spread)
    model.to(device)
    model.get_input_embeddings().register_forward_hook(_begin_gradient)  # type: ignore[operator]
    return model


def _decoder_layers(model: Any, body: nn.Module) -> list[nn.Module]:
    """What transformers itself never splits between devices."""
    names = set(model._no_split_modules or ())
    layers = [module for module in body.modules() if type(module).__name__ in names]
    if not layers:
        raise ValueError("transformers does not tell which of its modules are decoder layers")
    return layers


def _begin_gradient(_module: nn.Module, _inputs: Any, embedded: Tensor) -> None:
    """Make every backward pass run through every layer, so that all processes gather in step."""
    embedded.requires_grad_()
