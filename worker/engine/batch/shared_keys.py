"""Keys and values that the lanes of one micro-batch give to each other, and their gradients on the way back.

A token sees no later token. So in each layer a lane waits for the lanes before it in the forward pass, and
for the lanes after it in the backward pass: two lanes never wait for each other. The backward pass of one
lane may end in a higher layer than that of another, because its tokens learn nothing in the layers below.
There it gives nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

from torch import Tensor


@dataclass
class LayerKeys:
    """The keys and values of the whole token axis in one layer, and each lane's gradients of them."""

    kv_2JTE: Tensor
    given: set[int] = field(default_factory=set)
    gradients: dict[int, Tensor] = field(default_factory=dict)


class SharedKeys:
    """The keys and values that the lanes of one micro-batch share in one forward and backward pass.

    `bounds` are the start of the axis and the end of each part. `sees[lane]` are the other lanes that hold
    tokens which the tokens of `lane` see.
    """

    def __init__(self, bounds: Sequence[int], sees: Sequence[AbstractSet[int]]) -> None:
        self.bounds, self._sees = bounds, sees
        self._changed = Condition()
        self._layers: dict[int, LayerKeys] = {}  # those that some lane has not reached yet
        self._reached = [0] * len(sees)
        self._shared: dict[int, Tensor] = {}
        self._ended: set[int] = set()
        self._error: BaseException | None = None

    def give(self, lane: int, k_JTE: Tensor, v_JTE: Tensor) -> LayerKeys:
        """Give the keys and values of the lane's part in its next layer, and wait for those that it sees.

        Returns the layer's keys and values. Raises the error of another lane that has failed.
        """
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
        """Give the gradients of the keys and values that the lane's tokens saw, and wait for the other lanes.

        `dkv_2JTE` reaches from the start of the axis to the end of the lane's part. The gradients of the
        lane's own keys and values are added up there, in the lanes' order. Returns their place in `dkv_2JTE`.
        Raises the error of another lane that has failed.
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

    def share(self, lane: int, value: Tensor) -> list[Tensor]:
        """Give one value to all lanes, and return the values of all lanes, in their order.

        Every lane must call it once, between its forward and its backward pass. Raises the error of another
        lane that has failed.
        """
        with self._changed:
            self._shared[lane] = value
            self._changed.notify_all()
            self._wait_for(lambda: len(self._shared) == len(self._sees))
        return [self._shared[number] for number in range(len(self._sees))]

    def end(self, lane: int) -> None:
        """Note that the lane gives nothing more."""
        with self._changed:
            self._ended.add(lane)
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """Let all lanes that wait, now or later, raise `error`, because what they wait for will not come."""
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
    """One lane: its stretch of the token axis, and its access to the keys and values of the others."""

    keys: SharedKeys
    number: int

    @classmethod
    def alone(cls, length: int) -> "Lane":
        """Return the only lane of an axis of `length` tokens."""
        return cls(SharedKeys((0, length), (frozenset(),)), 0)

    @property
    def start(self) -> int:
        return self.keys.bounds[self.number]

    @property
    def end(self) -> int:
        return self.keys.bounds[self.number + 1]

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Tell the other lanes when this lane has ended or failed, so that none of them waits for ever."""
        try:
            yield
        except BaseException as error:
            self.keys.abort(error)
            raise
        self.keys.end(self.number)

    def give(self, k_JTE: Tensor, v_JTE: Tensor) -> LayerKeys:
        """Give the lane's part of the next layer."""
        return self.keys.give(self.number, k_JTE, v_JTE)

    def share(self, value: Tensor) -> list[Tensor]:
        return self.keys.share(self.number, value)

    def give_back(self, layer: LayerKeys, dkv_2JTE: Tensor) -> Tensor:
        return self.keys.give_back(self.number, layer, dkv_2JTE)


class LaneInLayer:
    """A lane's part in one layer that may be computed again: then the first time's keys and values are used.

    They are kept, because to share them again, each lane would have to wait for the lanes before it in the
    backward pass too, and a lane whose backward pass has ended could not give them.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._keys: LayerKeys | None = None

    def give(self, k_JTE: Tensor, v_JTE: Tensor) -> LayerKeys:
        """Give the lane's part as `Lane.give` does, but only once."""
        if self._keys is None:
            self._keys = self._lane.give(k_JTE, v_JTE)
        return self._keys
