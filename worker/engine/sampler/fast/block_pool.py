"""The blocks of keys and values: who holds them, and which beginnings of texts lie in them.

A block holds the keys and values of BLOCK tokens. Requests that begin alike hold the same blocks. A block
that nobody holds keeps its content until its position is needed: the least recently used one goes first. The
states behind some blocks are kept with them, in models that have states.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from torch import Tensor

BLOCK = 16  # tokens


def chained_hash(before: bytes, tokens: Sequence[int]) -> bytes:
    """Return the name of a block by its tokens, and by the name of the block before it."""
    return blake2b(
        before + b"".join(token.to_bytes(4, "little") for token in tokens), digest_size=16
    ).digest()


class BlockPool:
    """Numbered blocks, each free, held by requests, or kept for its content."""

    def __init__(self, blocks: int, kept_states: int = 0) -> None:
        """States are kept behind at most `kept_states` blocks."""
        self.size, self._kept_states = blocks, kept_states
        self._free = list(range(blocks - 1, -1, -1))
        self._holders = [0] * blocks
        self._names: dict[int, bytes] = {}
        self._by_name: dict[bytes, int] = {}
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._states: OrderedDict[int, Sequence[Tensor]] = OrderedDict()  # the least recently used come first

    @property
    def available(self) -> int:
        """The number of blocks that nobody holds."""
        return len(self._free) + len(self._kept)

    @property
    def held(self) -> int:
        return self.size - self.available

    def take(self) -> int:
        """Return an unnamed block for one holder. There must be an available one."""
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._kept.popitem(last=False)
            del self._by_name[self._names.pop(block)]
            self._states.pop(block, None)
        self._holders[block] = 1
        return block

    def find(self, name: bytes) -> int | None:
        """Return the block with this content, without holding it."""
        return self._by_name.get(name)

    def is_kept(self, block: int) -> bool:
        """Whether nobody holds the block, so that holding it makes one block less available."""
        return block in self._kept

    def hold(self, block: int) -> None:
        """Add a holder to a block that `find` has returned."""
        self._kept.pop(block, None)
        self._holders[block] += 1

    def name(self, block: int, name: bytes) -> None:
        """Let others find the block by its content, unless another block has the same content."""
        if name not in self._by_name:
            self._by_name[name] = block
            self._names[block] = name

    def keep_states(self, name: bytes, states: Sequence[Tensor]) -> None:
        """Keep the states behind the block with this content, perhaps in the place of others."""
        block = self._by_name[name]
        self._states[block] = states
        self._states.move_to_end(block)
        if len(self._states) > self._kept_states:
            self._states.popitem(last=False)

    def has_states(self, block: int) -> bool:
        """Whether the states behind the block are kept."""
        return block in self._states

    def states_behind(self, block: int) -> Sequence[Tensor]:
        """Return the states that are kept behind the block."""
        self._states.move_to_end(block)
        return self._states[block]

    def give_back(self, blocks: Sequence[int]) -> None:
        """Take a holder from each block. The last ones are reused first: beginnings are worth more."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._names:
                self._kept[block] = None
            else:
                self._free.append(block)
