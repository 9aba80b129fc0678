"""The interface that every path through a base model offers to the loop and to the adapters.

Three paths have it: `Decoder` (hand-written, for Llama-like models), `PortableDecoder` (transformers' own
modules on one packed token axis) and `PlainDecoder` (transformers' own modules, row by row).
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor

from core.estimates.memory_plan import Recompute
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.projection import LowRank

Path = Literal["fast", "portable", "plain"]

Adapters = Mapping[str, Mapping[str, LowRank]]
"""An adapter's factors, by the name of the adapter, and of the group of projections or experts' weight."""


class Projections(Protocol):
    """Projections of one input, with outputs side by side; `columns` are those of each, by module name."""

    @property
    def columns(self) -> Mapping[str, slice]: ...


class TextDecoder(Protocol):
    """A frozen base model, from tokens to the hidden states that its head multiplies.

    `softcap` bounds the logits as softcap · tanh(logits / softcap); with None the logits are not bounded.
    """

    path: Path
    softcap: float | None

    @property
    def head_weight(self) -> FrozenWeight:
        """The weight of the head. On a CPU, no copy is made of a weight in 8 bits."""

    @property
    def groups(self) -> Mapping[str, Projections]:
        """Every projection that an adapter can be attached to, by the name of its group."""

    @property
    def experts(self) -> Mapping[str, tuple[int, int, int]]:
        """The weights of experts that an adapter can be put on: their E, N, K by the parameters' names."""

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D]; logits are hidden · headᵀ.

        The layers keep what the backward pass needs, except for what it computes again by `recompute`. The
        last layer keeps all in any case, because its backward pass comes at once.
        """
