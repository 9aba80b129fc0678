"""The part that adapters with modules of their own share: a decoder that computes with these modules."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from worker.engine.adapters.dynamic_rank import DynamicRank
from worker.engine.adapters.rank_budget import RankBudget
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import PlainDecoder, PortableDecoder
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.kernels.projection import LowRank
from worker.engine.kernels.transformers_attention import NAME


class WithOwnDecoder:
    """An adapter whose decoder has all of the adapter in it, so that the loop hands no factors to it."""

    rank_budget: RankBudget | None = None
    dynamic_rank: DynamicRank | None = None
    target_parameters: Sequence[str] = ()
    invocation: Sequence[int] = ()
    _decoder: TextDecoder

    @property
    def decoder(self) -> TextDecoder:
        return self._decoder

    @property
    @abstractmethod
    def plain_model(self) -> Any:
        """PEFT's or transformers' model, with the present parameters."""

    @contextmanager
    def answering(self) -> Iterator[Any]:
        yield self.plain_model

    def low_ranks(self, _lane: int = 0, /) -> Mapping[str, LowRank]:
        return {}


def own_decoder(base: ResidentBase, model: Any, head: Head) -> TextDecoder:
    """Return a decoder over a job's own modules: packed if the base's rows can be packed, else row by row."""
    packed = base.decoder.path != "plain"
    model.set_attn_implementation(NAME if packed else base.own_attention)
    return PortableDecoder(model, head) if packed else PlainDecoder(model, head)
