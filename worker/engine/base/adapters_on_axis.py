"""The adapters of a micro-batch, and the tokens of its axis that each of them works on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.base.text_decoder import Adapters
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.projection import Share


@dataclass(frozen=True)
class AdaptersOnAxis:
    """Each adapter's run of tokens on one axis, its factors, and the random draws for dropout.

    `tokens` holds the runs by the adapter's name. `dropout_seeds_T` is None if no adapter drops anything.
    """

    tokens: Mapping[str, slice]
    adapters: Adapters
    dropout_seeds_T: Tensor | None

    @classmethod
    def of(cls, batch: MicroBatch, adapters: Adapters) -> "AdaptersOnAxis":
        return cls(batch.adapter_tokens, adapters, batch.dropout_seeds_T)

    def shares(self, group: str) -> list[Share]:
        """Return the shares of the adapters that adapt this group of projections."""
        return [
            Share.on(run, self.adapters[name][group], self.dropout_seeds_T)
            for name, run in self.tokens.items()
            if group in self.adapters[name]
        ]

    def restricted_to(self, positions_S: Tensor) -> "AdaptersOnAxis":
        """Return the same for an axis of which only the ascending `positions_S` are left."""
        if not self.tokens:
            return self
        bounds = torch.tensor([[r.start, r.stop] for r in self.tokens.values()], device=positions_S.device)
        found = torch.searchsorted(positions_S, bounds).tolist()
        tokens = {name: slice(*pair) for name, pair in zip(self.tokens, found, strict=True)}
        dropout_seeds_S = None if self.dropout_seeds_T is None else self.dropout_seeds_T[positions_S]
        return replace(self, tokens=tokens, dropout_seeds_T=dropout_seeds_S)
