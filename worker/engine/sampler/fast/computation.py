"""The fast path: all requests in one ragged step, with keys and values in blocks of one pool."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.portable import PortableDecoder
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK, BlockPool
from worker.engine.sampler.fast.modules import RaggedModules
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.fast.schedule import Schedule, Shares
from worker.engine.sampler.fast.step import RaggedStep
from worker.engine.sampler.isolation import Failed, together
from worker.engine.sampler.running import Computed, Running

# Tokens that take a CPU about as long as the weights, which every step reads once. A GPU has computed a whole
# step by then.
CHEAP_TOKENS = 8
ATTENTION = 8  # times as long as a multiplication by a weight takes one by a key or a value, as measured


class FastComputation:
    """Computes requests on a base model that has the fast or the portable decoder."""

    def __init__(
        self, base: ResidentBase, cache_bytes: int, step_tokens: int, max_running: int, drafts: bool
    ) -> None:
        """Prepare the steps. With `drafts`, they also compute tokens that may follow.

        A model with states has none, since a state cannot take a token back. A model with experts has none
        either, since each further token needs experts of its own.
        """
        room = _Room.of(base, cache_bytes, max_running)
        self.pool = BlockPool(room.blocks, room.kept_states)
        self._ragged = _ragged(base, room.blocks)
        cheap = CHEAP_TOKENS if base.device.type == "cpu" else step_tokens
        self.schedule = Schedule(
            self.pool,
            base.source_sha256.encode(),
            step_tokens,
            room.requests,
            Shares(cheap, room.long_text),
            room.has_states,
            drafts and not room.has_states and not base.decoder.experts,
            self._ragged.longest_in_c,
        )

    @staticmethod
    def takes(base: ResidentBase) -> bool:
        """Return whether the tokens of several texts can be computed at once."""
        return isinstance(base.decoder, Decoder | PortableDecoder)

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

    def accept(self, one: Running, count: int) -> None:
        """Note that so many tokens of a request's draft have become its answer's."""
        self.schedule.accept(one, count)

    def step(self) -> list[Computed | Failed]:
        """Compute the next chunks. Return those that have logits, and the requests that have failed."""
        chunks = self.schedule.next_chunks()
        found = together(self._ragged.compute, chunks)  # a chunk that is computed again writes the same slots
        failed = {one.running for one in found if isinstance(one, Failed)}
        self.schedule.finish([chunk for chunk in chunks if chunk.running not in failed])
        return found


@dataclass(frozen=True)
class _Room:
    """What fits into the memory for texts: blocks, requests at once, and kept states.

    A token behind a text of `long_text` tokens takes as long in attention as in all products with weights.
    """

    blocks: int
    requests: int
    long_text: int
    has_states: bool = False
    kept_states: int = 0

    @classmethod
    def of(cls, base: ResidentBase, cache_bytes: int, max_running: int) -> "_Room":
        """Divide the memory. States get half of it, for requests and for beginnings alike."""
        decoder = base.decoder
        if isinstance(decoder, Decoder):
            queries = sum(layer.heads.query * layer.heads.size for layer in decoder.layers)
            blocks = max(1, cache_bytes // RaggedDecoder.block_bytes(decoder))
            return cls(blocks, max_running, _long_text(decoder.products, queries))
        assert isinstance(decoder, PortableDecoder)
        costs = decoder.step_costs
        assert costs is not None
        states = cache_bytes // 2 // costs.state_bytes if costs.state_bytes else 0
        requests = max(1, min(max_running, states // 2)) if costs.state_bytes else max_running
        kept = max(0, min(states - requests, max_running))
        left = max(cache_bytes // 2, cache_bytes - (requests + kept) * costs.state_bytes)
        of_longest = requests * -(-base.entry.max_length // BLOCK)
        fitting = left // (BLOCK * costs.token_bytes) if costs.token_bytes else of_longest
        long_text = _long_text(sum(p.numel() for p in base.model.parameters()), costs.queries)
        return cls(max(1, min(fitting, of_longest)), requests, long_text, costs.state_bytes > 0, kept)


def cache_bytes_for(base: ResidentBase, texts: Sequence[int]) -> int:
    """Return the memory in which texts of so many tokens are computed at once; 0 if they never are."""
    decoder, blocks = base.decoder, sum(-(-tokens // BLOCK) + 1 for tokens in texts)
    if isinstance(decoder, Decoder):
        return blocks * RaggedDecoder.block_bytes(decoder)
    costs = decoder.step_costs if isinstance(decoder, PortableDecoder) else None
    if costs is None:
        return 0
    states = 2 * len(texts) * costs.state_bytes  # of the requests, and of as many beginnings
    return 2 * max(states, blocks * BLOCK * costs.token_bytes, 1)  # states get half of it


def _long_text(products: int, queries: int) -> int:
    return max(BLOCK, products // (ATTENTION * 2 * max(1, queries)))


def _ragged(base: ResidentBase, blocks: int) -> RaggedStep:
    if isinstance(base.decoder, Decoder):
        return RaggedDecoder(base.decoder, blocks)
    assert isinstance(base.decoder, PortableDecoder)
    return RaggedModules(base.model, base.decoder, blocks)
