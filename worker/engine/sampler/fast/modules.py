"""One step of the sampler in transformers' modules, for base models on the portable path.

As on the fast path, the chunks of all requests lie on one token axis, and keys and values in the blocks of a
pool. What convolutions and recurrences leave for the next step is kept with the request.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.decoders.head import capped_logits
from worker.engine.decoders.portable import PortableDecoder
from worker.engine.device.transfer import on_device
from worker.engine.kernels.experts.modules import forward as compute_experts
from worker.engine.kernels.experts.modules import parameter_names
from worker.engine.kernels.forwards import with_forwards
from worker.engine.kernels.transformers_steps import Pool, StepLayout
from worker.engine.sampler.adapters.served import GroupFactors
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.step import Axis, RaggedStep
from worker.engine.sampler.running import Chunk


class RaggedModules(RaggedStep):
    """The modules of a base model, with a pool of keys and values for `blocks` blocks."""

    def __init__(self, model: nn.Module, decoder: PortableDecoder, blocks: int) -> None:
        self._model, self._decoder, self._pool = model, decoder, Pool(blocks * BLOCK)

    @torch.no_grad()  # not `inference_mode`: what a model keeps of its tensors may be trained with later
    def logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        """Return the logits. The requests get their new states last, so what fails may be computed again."""
        decoder = self._decoder
        axis = Axis.of(chunks, decoder.head.layer.weight.device)
        layout = StepLayout(axis.chunks, axis.slots_T, self._pool, [chunk.states for chunk in chunks])
        with with_forwards(self._adapted(axis)):
            hidden_TD = decoder.step(axis.tokens_T, axis.positions_T, layout, axis.images_ID)
        hidden_SD = decoder.head.scaled(
            hidden_TD[on_device(torch.tensor(rows, dtype=torch.long), hidden_TD.device)]
        )
        logits_SV = capped_logits(hidden_SD, decoder.head_weight, decoder.softcap)
        for chunk, states in zip(chunks, layout.after, strict=True):
            chunk.running.states = states
        return logits_SV

    def _adapted(self, axis: Axis) -> dict[nn.Module, Callable[..., Tensor]]:
        """Return the layers and experts that adapters change in this step, and how they compute meanwhile."""
        of_layers: dict[str, list[tuple[slice, GroupFactors]]] = {}
        for span, adapter in axis.spans:
            for name, factors in adapter.factors.items():
                of_layers.setdefault(name, []).append((span, factors))
        layers = {self._model.get_submodule(name): each for name, each in of_layers.items()}
        names = dict.fromkeys(name.rpartition(".")[0] for _, each in axis.spans for name in each.experts)
        experts = {name: self._model.get_submodule(name) for name in names}
        return {
            **{layer: partial(_forward, layer, layer.forward, each) for layer, each in layers.items()},
            **{
                module: partial(
                    compute_experts, module, updates=axis.expert_updates(name, parameter_names(module))
                )
                for name, module in experts.items()
            },
        }


def _forward(
    layer: Any, forward: Callable[..., Tensor], updates: Sequence[tuple[slice, GroupFactors]], x: Tensor
) -> Tensor:
    y = forward(x)
    y_TN, x_TK = y.view(-1, y.shape[-1]), x.reshape(-1, x.shape[-1])
    for span, factors in updates:
        factors.add_to(y_TN[span], x_TK[span], layer.bias)
    return y
