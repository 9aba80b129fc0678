"""The fast path: all requests in one ragged step, with keys and values in blocks of one pool."""

from math import prod

from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK, BlockPool
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.fast.schedule import Schedule, Shares
from worker.engine.sampler.isolation import Failed, together
from worker.engine.sampler.running import Computed, Running

# Tokens that take a CPU about as long as the weights, which every step reads once. A GPU has computed a whole
# step by then.
CHEAP_TOKENS = 8
ATTENTION = 8  # times as long as a multiplication by a weight takes one by a key or a value, as measured


class FastComputation:
    """Computes requests on a base model that has the fast decoder."""

    def __init__(
        self, base: ResidentBase, decoder: Decoder, cache_bytes: int, step_tokens: int, max_running: int
    ) -> None:
        blocks = max(1, cache_bytes // RaggedDecoder.block_bytes(decoder))
        self.pool = BlockPool(blocks)
        cheap = CHEAP_TOKENS if base.device.type == "cpu" else step_tokens
        shares = Shares(cheap, _long_text(decoder))
        self.schedule = Schedule(self.pool, base.source_sha256.encode(), step_tokens, max_running, shares)
        self._ragged = RaggedDecoder(decoder, blocks)

    @property
    def most_tokens(self) -> int:
        """The most tokens of one request."""
        return self.pool.size * BLOCK

    @property
    def running(self) -> int:
        return len(self.schedule.places.running)

    @property
    def waiting(self) -> int:
        return self.schedule.places.waiting

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

    def step(self) -> list[Computed | Failed]:
        """Compute the next chunks. Return those that have logits, and the requests that have failed."""
        chunks = self.schedule.next_chunks()
        found = together(self._ragged.compute, chunks)  # a chunk that is computed again writes the same slots
        failed = {one.running for one in found if isinstance(one, Failed)}
        self.schedule.finish([chunk for chunk in chunks if chunk.running not in failed])
        return found


def _long_text(decoder: Decoder) -> int:
    """Return behind how many tokens attention takes a token as long as all products with weights."""
    products = sum(prod(group.weight.shape) for group in decoder.groups.values())
    of_a_token = 2 * sum(layer.heads.query * layer.heads.size for layer in decoder.layers)
    return max(BLOCK, products // (ATTENTION * of_a_token))
