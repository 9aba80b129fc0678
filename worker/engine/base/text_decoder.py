"""What every path through a base model offers to the loop and to the adapters.

Three paths have this face: `Decoder` (hand-written, for Llama-like models), `PortableDecoder` (transformers'
own modules on one packed token axis) and `PlainDecoder` (transformers' own modules, row by row).
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor

from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.projection import LowRank

Path = Literal["fast", "portable", "plain"]

Adapters = Mapping[str, Mapping[str, LowRank]]
"""Factors by the adapter's name and the group's."""


class Projections(Protocol):
    """Projections of one input, whose outputs lie side by side: the columns of each, by module name."""

    @property
    def columns(self) -> Mapping[str, slice]: ...


class TextDecoder(Protocol):
    """A frozen base model from tokens to what its head multiplies.

    `softcap` bounds the logits, as softcap · tanh(logits / softcap); None leaves them alone.
    """

    path: Path
    softcap: float | None

    @property
    def head_VD(self) -> Tensor: ...  # noqa: N802 - axes

    @property
    def groups(self) -> Mapping[str, Projections]:
        """Every projection that an adapter can be attached to, by the group's name."""

    def hidden(self, batch: MicroBatch, adapters: Adapters) -> Tensor:
        """Final hidden states of the supervised positions, [S, D]; hidden · headᵀ are the logits."""
