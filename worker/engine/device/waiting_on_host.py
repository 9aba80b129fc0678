"""Tensors that wait for the backward pass in host memory, so that a GPU has room for others.

On a GPU, copies run on a stream of their own, beside the computation. Waits between the two streams make sure
that nobody reads a tensor before it is there, and that its memory is used again only once it has been copied.
A CPU copies at once, and gains nothing by it: there it only shows that nothing changes.
"""

from dataclasses import dataclass
from functools import cache
from weakref import ref

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

HOST = torch.device("cpu")


def waiting_on_host() -> saved_tensors_hooks:
    """Return hooks that send the tensors saved inside to the host, and give them back for the backward pass.

    The hooks may be entered several times. The backward pass must need the tensors in the reverse order: with
    each, the one before is fetched ahead. So the device holds one beside the one that is being used.
    """
    queue = _Queue()
    return saved_tensors_hooks(queue.send, queue.fetch)


@dataclass(eq=False)
class _Waiting:
    """A tensor in host memory. It lives as long as autograd needs it."""

    on_host: Tensor
    on_device: Tensor | None
    """While it is sent, and again from when it is fetched ahead until it is used."""
    device: torch.device
    before: "ref[_Waiting] | None"
    """What was sent before it, and is needed after it."""

    def __del__(self) -> None:
        if self.on_device is not None:  # nobody needs it any more, and its memory goes to others
            _wait_for_copies(self.device)


class _Queue:
    """Tensors in the order in which they were sent."""

    def __init__(self) -> None:
        self._last: ref[_Waiting] | None = None

    def send(self, x: Tensor) -> _Waiting:
        """Begin to send x. What was sent before must have arrived now, and leaves the device."""
        if self._last is not None and (last := self._last()) is not None:
            _wait_for_copies(last.device)
            last.on_device = None
        x = x.detach()  # a hook that keeps x itself leaves autograd with a circle of references
        on_host = torch.empty_like(x, device=HOST, pin_memory=_stream(x.device) is not None)
        _copy(x, on_host, x.device)
        waiting = _Waiting(on_host, x, x.device, self._last)
        self._last = ref(waiting)
        return waiting

    def fetch(self, waiting: _Waiting) -> Tensor:
        """Return a tensor on the device, and begin to fetch the one before, if it is needed at all."""
        x = _on_device(waiting)
        _wait_for_copies(waiting.device)
        waiting.on_device = None
        if waiting.before is not None and (before := waiting.before()) is not None:
            before.on_device = _on_device(before)
        return x


def _on_device(waiting: _Waiting) -> Tensor:
    """Return the tensor on the device. It may still be on its way."""
    if waiting.on_device is not None:
        return waiting.on_device
    x = torch.empty_like(waiting.on_host, device=waiting.device)
    _copy(waiting.on_host, x, waiting.device)
    return x


@cache
def _stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return the stream of a GPU's copies; None for a CPU."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def _copy(source: Tensor, target: Tensor, device: torch.device) -> None:
    """Copy after all that the device was told to compute: it may make the source, or still use the target."""
    stream = _stream(device)
    if stream is None:
        target.copy_(source)
        return
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        target.copy_(source, non_blocking=True)


def _wait_for_copies(device: torch.device) -> None:
    """Let what the device is told from now on wait for all copies that have begun."""
    stream = _stream(device)
    if stream is not None:
        torch.cuda.current_stream(device).wait_stream(stream)
