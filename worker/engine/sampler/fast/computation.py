"""The fast path: all requests in one ragged step, with keys and values in blocks of one pool."""

from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK, BlockPool
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.fast.schedule import Schedule
from worker.engine.sampler.running import Computed, Running


class FastComputation:
    """Computes requests on a base model that has the fast decoder."""

    def __init__(
        self, base: ResidentBase, decoder: Decoder, cache_bytes: int, step_tokens: int, max_running: int
    ) -> None:
        blocks = max(1, cache_bytes // RaggedDecoder.block_bytes(decoder))
        self.pool = BlockPool(blocks)
        self.schedule = Schedule(self.pool, base.source_sha256.encode(), step_tokens, max_running)
        self._ragged = RaggedDecoder(decoder, blocks)

    @property
    def most_tokens(self) -> int:
        """The most tokens of one request."""
        return self.pool.size * BLOCK

    @property
    def running(self) -> int:
        return len(self.schedule.running)

    @property
    def waiting(self) -> int:
        return len(self.schedule.waiting)

    @property
    def pool_share(self) -> float:
        return self.pool.held / self.pool.size

    def prepare(self, adapter: ServedAdapter) -> None:
        """Do what the first step with the adapter would otherwise do."""
        self._ragged.prepare(adapter)

    def add(self, one: Running) -> None:
        """Take a request, which waits until there is room for it."""
        self.schedule.add(one)

    def remove(self, one: Running) -> None:
        """Forget a request and give back its blocks."""
        self.schedule.remove(one)

    def step(self) -> list[Computed]:
        """Compute the next chunk of every request, and return those that have logits."""
        chunks = self.schedule.next_chunks()
        if not chunks:
            return []
        computed = self._ragged.compute(chunks)
        self.schedule.finish(chunks)
        return computed
