"""Decides what each step computes, within the pool of blocks.

Requests are served in the order of their arrival. If there is no block for the next token of one, the request
that came last gives up its blocks, and is computed again later.
"""

from collections import deque
from collections.abc import Sequence

from worker.engine.sampler.fast.block_pool import BLOCK, BlockPool, chained_hash
from worker.engine.sampler.running import Chunk, Running


class Schedule:
    """The requests that are computed, and those that wait."""

    def __init__(self, pool: BlockPool, base_name: bytes, step_tokens: int, max_running: int) -> None:
        self._pool, self._base_name = pool, base_name
        self._step_tokens, self._max_running = step_tokens, max_running
        self.running: list[Running] = []
        self.waiting: deque[Running] = deque()
        self.preemptions = 0

    def add(self, one: Running) -> None:
        self.waiting.append(one)

    def remove(self, one: Running) -> None:
        """Forget a request, and give back its blocks."""
        (self.running if one in self.running else self.waiting).remove(one)
        self._give_up(one)

    def next_chunks(self) -> list[Chunk]:
        """Return what the next step computes, and take the blocks for it."""
        budget, chunks = self._step_tokens, []
        for one in list(self.running):
            if one not in self.running:
                continue  # it was preempted for one of those before it
            missing = len(one.tokens) - one.computed
            tokens = 1 if missing == 1 else min(missing, budget)
            if tokens and self._make_room(one, one.computed + tokens):
                chunks.append(Chunk(one, one.computed, one.computed + tokens))
                budget -= tokens if missing > 1 else 0
        return chunks + self._admit(budget)

    def finish(self, chunks: Sequence[Chunk]) -> None:
        """Note that the chunks are computed: whole blocks can be found by others from here on."""
        for chunk in chunks:
            one = chunk.running
            one.computed = chunk.stop
            self._name_blocks(one, one.computed // BLOCK)
            for position in range(chunk.start // BLOCK, one.computed // BLOCK):
                self._pool.name(one.blocks[position], one.names[position])

    def _admit(self, budget: int) -> list[Chunk]:
        """Let waiting requests in while there is room for their whole prompts."""
        chunks: list[Chunk] = []
        in_work = self._names_in_work()
        for one in list(self.waiting):
            if budget <= 0 or len(self.running) >= self._max_running:
                break
            found = self._find_beginning(one)
            if len(found) < len(one.names) and one.names[len(found)] in in_work:
                continue  # another one computes the same beginning now
            blocks = _blocks_for(len(one.tokens) + 1) - sum(not self._pool.is_kept(block) for block in found)
            if blocks > self._pool.available:
                break
            self._begin(one, found)
            tokens = min(len(one.tokens) - one.computed, budget)
            self._make_room(one, one.computed + tokens)
            chunks.append(Chunk(one, one.computed, one.computed + tokens))
            budget -= tokens
            in_work.update(one.names[len(found) :])
        return chunks

    def _begin(self, one: Running, found: Sequence[int]) -> None:
        for block in found:
            self._pool.hold(block)
        one.blocks = list(found)
        one.computed = len(found) * BLOCK
        if not one.made:
            one.cached = one.computed
        self.waiting.remove(one)
        self.running.append(one)

    def _names_in_work(self) -> set[bytes]:
        """Return the names of the blocks whose tokens are known, but not computed yet."""
        return {name for one in self.running for name in one.names[one.computed // BLOCK :]}

    def _find_beginning(self, one: Running) -> list[int]:
        """Return the blocks that already hold the beginning of a request; at least one token is left."""
        found: list[int] = []
        self._name_blocks(one, (len(one.tokens) - 1) // BLOCK)
        if one.wants_prompt_logprobs:
            return found
        for name in one.names[: (len(one.tokens) - 1) // BLOCK]:
            if (block := self._pool.find(name)) is None:
                break
            found.append(block)
        return found

    def _name_blocks(self, one: Running, count: int) -> None:
        while len(one.names) < count:
            start = len(one.names) * BLOCK
            before = one.names[-1] if one.names else self._first_name(one)
            one.names.append(chained_hash(before, one.tokens[start : start + BLOCK]))

    def _first_name(self, one: Running) -> bytes:
        adapter = one.request.adapter
        return self._base_name + (adapter.content_hash.encode() if adapter else b"")

    def _make_room(self, one: Running, tokens: int) -> bool:
        """Take blocks for so many tokens of a request. Return False if the request was itself preempted."""
        while len(one.blocks) < _blocks_for(tokens):
            if self._pool.available:
                one.blocks.append(self._pool.take())
                continue
            last = self.running.pop()
            self._give_up(last)
            self.waiting.appendleft(last)
            self.preemptions += 1
            if last is one:
                return False
        return True

    def _give_up(self, one: Running) -> None:
        self._pool.give_back(one.blocks)
        one.blocks, one.computed = [], 0


def _blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK)
