"""What the loop, checkpoints and publication ask of an adapter, whatever its method."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from worker.engine.adapters.dynamic_rank import DynamicRank
from worker.engine.adapters.rank_budget import RankBudget
from worker.engine.base.text_decoder import TextDecoder
from worker.engine.kernels.projection import LowRank
from worker.engine.parameters.flat import FlatParameters

Beginning = Mapping[str, Tensor]
"""The first values of an adapter's parameters, by name."""

Generate = Callable[..., Tensor]
"""Prompts' tokens and mask, [B, L] each, with transformers' options -> those tokens and the new ones."""


class Adapter(Protocol):
    """One job's adapter, or its copy of the whole model. Its name is the job's.

    `decoder` computes with it: the base model's, which many adapters share, or one of its own.
    """

    name: str
    parameters: FlatParameters
    rank_budget: RankBudget | None
    dynamic_rank: DynamicRank | None

    @property
    def decoder(self) -> TextDecoder: ...

    def low_ranks(self, lane: int = 0, /) -> Mapping[str, LowRank]:
        """The factors by the name of their group of projections; none where the decoder knows of them."""

    def generating(self) -> AbstractContextManager[Generate]:
        """`generate` of transformers' model, with the present factors; nobody else may compute inside."""

    @property
    def plain_model(self) -> Any:
        """PEFT's model, or transformers', with the present parameters."""

    @property
    def target_modules(self) -> list[str]:
        """PEFT's names of what is adapted; none of vectors before the text and of a whole model."""

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the published base.

        Of a whole model, what `from_pretrained` of transformers loads.
        """
