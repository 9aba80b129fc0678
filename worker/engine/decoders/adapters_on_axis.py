"""The adapters of a micro-batch, and the tokens of its axis that each of them works on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from worker.engine.batch.dropout import dropped
from worker.engine.batch.micro_batch import MicroBatch, spans_among
from worker.engine.decoders.text_decoder import Adapters
from worker.engine.kernels.projection import Drop, Share


@dataclass(frozen=True)
class AdaptersOnAxis:
    """Each adapter's span of tokens on one axis, its factors, and the seeds of its dropout masks.

    `tokens` holds the spans by the adapter's name. `dropout_seeds_T` is None if no adapter drops anything,
    and `drop` is the device's way to drop inputs. `acting_T` says which tokens their adapters act on; None is
    all of them.
    """

    tokens: Mapping[str, slice]
    adapters: Adapters
    dropout_seeds_T: Tensor | None
    drop: Drop = dropped
    acting_T: Tensor | None = None

    @classmethod
    def of(cls, batch: MicroBatch, adapters: Adapters, drop: Drop = dropped) -> "AdaptersOnAxis":
        return cls(batch.adapter_tokens, adapters, batch.dropout_seeds_T, drop, batch.acting_T)

    def shares(self, group: str) -> list[Share]:
        """Return the shares of the adapters that adapt this group of projections."""
        return [
            Share.on(span, self.adapters[name][group], self.dropout_seeds_T, self.drop, self.acting_T)
            for name, span in self.tokens.items()
            if group in self.adapters[name]
        ]

    def restricted_to(self, positions_S: Tensor, host_S: Tensor) -> "AdaptersOnAxis":
        """Return the same for an axis of which only the ascending `positions_S` are left.

        `host_S` are the same positions in the host's memory.
        """
        dropout_seeds_S = None if self.dropout_seeds_T is None else self.dropout_seeds_T[positions_S]
        acting_S = None if self.acting_T is None else self.acting_T[positions_S]
        tokens = spans_among(host_S, self.tokens)
        return replace(self, tokens=tokens, dropout_seeds_T=dropout_seeds_S, acting_T=acting_S)
