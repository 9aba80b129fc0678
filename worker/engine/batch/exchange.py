"""What lanes of one micro-batch give each other in attention: keys and values, and their gradients back.

A token sees none behind it. So a lane waits, forward, for those before it, and backward for those behind it,
layer by layer; never do two wait for each other. A lane whose tokens learn nothing as deep down as another's
ends its backward pass above it, and gives nothing there.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

from torch import Tensor


@dataclass
class LayerKeys:
    """Keys and values of the whole token axis in one layer, and each lane's gradients of them."""

    kv_2JTE: Tensor
    given: set[int] = field(default_factory=set)
    gradients: dict[int, Tensor] = field(default_factory=dict)


class Exchange:
    """One forward and backward pass of a micro-batch whose token axis is parted among lanes.

    `bounds` are the ends of the parts on the axis, with its start before them; `sees[lane]` are the other
    lanes on whose tokens those of `lane` depend.
    """

    def __init__(self, bounds: Sequence[int], sees: Sequence[AbstractSet[int]]) -> None:
        self.bounds, self._sees = bounds, sees
        self._changed = Condition()
        self._layers: dict[int, LayerKeys] = {}  # that some lane has not reached
        self._reached = [0] * len(sees)
        self._ended: set[int] = set()
        self._error: BaseException | None = None

    def give(self, lane: int, k_JTE: Tensor, v_JTE: Tensor) -> LayerKeys:
        """Give the part's keys and values in its next layer, and wait for those that its tokens see."""
        layer = self._next_layer(lane, k_JTE)
        part = slice(*self.bounds[lane : lane + 2])
        layer.kv_2JTE[0, :, part] = k_JTE
        layer.kv_2JTE[1, :, part] = v_JTE
        with self._changed:
            layer.given.add(lane)
            self._changed.notify_all()
            self._wait_for(lambda: self._sees[lane] <= layer.given)
        return layer

    def give_back(self, lane: int, layer: LayerKeys, dkv_2JTE: Tensor) -> Tensor:
        """Give the gradients of what the part's tokens saw, and wait for those of its own keys and values.

        `dkv_2JTE` reaches to the part's end. Their sum, in the lanes' order, is written to the part's place
        in it, which is returned.
        """
        later = [other for other, sees in enumerate(self._sees) if lane in sees]
        with self._changed:
            layer.gradients[lane] = dkv_2JTE
            self._changed.notify_all()
            self._wait_for(lambda: layer.gradients.keys() | self._ended >= set(later))
        part = slice(*self.bounds[lane : lane + 2])
        for other in later:
            if other in layer.gradients:
                dkv_2JTE[:, :, part] += layer.gradients[other][:, :, part]
        return dkv_2JTE[:, :, part]

    def end(self, lane: int) -> None:
        """The lane gives nothing more."""
        with self._changed:
            self._ended.add(lane)
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """Let the lanes that wait, or will, raise `error`: what they wait for will not come."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _next_layer(self, lane: int, like_JTE: Tensor) -> LayerKeys:
        with self._changed:
            number = self._reached[lane]
            self._reached[lane] += 1
            if number not in self._layers:
                heads, _, size = like_JTE.shape
                self._layers[number] = LayerKeys(like_JTE.new_empty(2, heads, self.bounds[-1], size))
            layer = self._layers[number]
            if min(self._reached) > number:
                del self._layers[number]
        return layer

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._error is not None or ready())
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class Lane:
    """One lane's run on the token axis, and its end of the exchange."""

    exchange: Exchange
    number: int

    @classmethod
    def alone(cls, length: int) -> "Lane":
        return cls(Exchange((0, length), (frozenset(),)), 0)

    @property
    def start(self) -> int:
        return self.exchange.bounds[self.number]

    @property
    def end(self) -> int:
        return self.exchange.bounds[self.number + 1]

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """The other lanes learn that this one has ended, or why it failed: none waits for it in vain."""
        try:
            yield
        except BaseException as error:
            self.exchange.abort(error)
            raise
        self.exchange.end(self.number)

    def give(self, k_JTE: Tensor, v_JTE: Tensor) -> LayerKeys:
        return self.exchange.give(self.number, k_JTE, v_JTE)

    def give_back(self, layer: LayerKeys, dkv_2JTE: Tensor) -> Tensor:
        return self.exchange.give_back(self.number, layer, dkv_2JTE)
