"""A frozen base model spread over the processes, layer by layer, if one device cannot hold it alone.

PyTorch's FSDP2 does it (Zhao et al. 2023, arXiv:2304.11277). Each process keeps a part of every decoder
layer. A layer is gathered for the time of its forward pass, and again for its backward pass. Embeddings, the
norms outside of the layers, and the head stay whole in each process. So do adapters, which are attached
later.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from worker.engine.decoders.portable import body_of


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Spread a model that lies in the host's memory. Raises ValueError if its layers are not known."""
    body = body_of(model)
    layers = _decoder_layers(model, body)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)  # moves this layer to the device, and keeps the process's part of it
    spread = {parameter for layer in layers for parameter in layer.parameters()}
    fully_shard(body, mesh=mesh, ignored_params=set(body.parameters()) - spread)
    model.to(device)
    model.get_input_embeddings().register_forward_hook(_require_gradient)  # type: ignore[operator]
    return model


def _decoder_layers(model: Any, body: nn.Module) -> list[nn.Module]:
    """Return the modules that transformers itself never splits between devices."""
    names = set(model._no_split_modules or ())
    layers = [module for module in body.modules() if type(module).__name__ in names]
    if not layers:
        raise ValueError("transformers does not name the decoder layers of this model")
    return layers


def _require_gradient(_module: nn.Module, _inputs: Any, embedded: Tensor) -> None:
    """Make every backward pass run through every layer, so that all processes gather the same layers."""
    embedded.requires_grad_()
