"""The interface of an adapter, of any method, for the loop, checkpoints and publication."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from worker.engine.adapters.dynamic_rank import DynamicRank
from worker.engine.adapters.rank_budget import RankBudget
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.kernels.projection import LowRank
from worker.engine.parameters.flat import FlatParameters

InitialValues = Mapping[str, Tensor]
"""The first values of an adapter's parameters, by name."""


class Adapter(Protocol):
    """One adapter, or a job's copy of the whole model.

    Its name is the job's id; for a candidate, the id with the candidate's number. `decoder` computes with the
    adapter. It is the base model's decoder, which many adapters share, or a decoder that only this adapter
    uses.
    """

    name: str
    parameters: FlatParameters
    rank_budget: RankBudget | None
    dynamic_rank: DynamicRank | None

    @property
    def decoder(self) -> TextDecoder: ...

    @property
    def invocation(self) -> Sequence[int]:
        """The tokens from which on the adapter acts in a row; none if it acts on all tokens."""

    def low_ranks(self, lane: int = 0, /) -> Mapping[str, LowRank]:
        """Return the factors by the name of their group of projections; none if the decoder has them."""

    def answering(self) -> AbstractContextManager[Any]:
        """Yield PEFT's or transformers' model with the present factors.

        No other job and no chat may compute inside: they share the model's layers.
        """

    @property
    def plain_model(self) -> Any:
        """PEFT's or transformers' model, with the present parameters."""

    @property
    def target_parameters(self) -> Sequence[str]:
        """The weights of experts that it changes, as PEFT names them."""

    @property
    def target_modules(self) -> list[str]:
        """PEFT's names of the adapted modules; none for virtual tokens and for a whole model."""

    def load(self, published: Mapping[str, Tensor]) -> None:
        """Take the values of an adapter with the same options from the tensors that `save` has written.

        Raises JobError if they are those of another adapter.
        """

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the base model.

        A whole model is written as transformers' `from_pretrained` loads it.
        """
