"""What waits in host memory comes back as it was, and the device holds one tensor beside the one in use."""

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.engine.device.waiting_on_host import waiting_on_host

EACH_DEVICE = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
)


def some(count: int, device: str, size: int = 64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(size, size, dtype=torch.bfloat16).to(device) for _ in range(count)]


@EACH_DEVICE
def test_tensors_come_back_to_the_bit_also_if_their_memory_is_used_again(device: str) -> None:
    hooks, sent = waiting_on_host(), some(4, device)
    expected = [x.clone() for x in sent]
    waiting = []
    for x in sent:
        waiting.append(hooks.pack_hook(x))
        if len(waiting) > 1:
            sent[len(waiting) - 2].zero_()  # it has left
    for each in (waiting[3], waiting[2], waiting[1], waiting[0], waiting[2]):
        assert torch.equal(hooks.unpack_hook(each), expected[waiting.index(each)])


@EACH_DEVICE
def test_only_the_last_one_sent_is_still_on_the_device(device: str) -> None:
    hooks, sent = waiting_on_host(), some(4, device)
    memory = [weakref.ref(x.untyped_storage()) for x in sent]
    waiting = [hooks.pack_hook(sent.pop(0)) for _ in range(4)]
    assert [each() is not None for each in memory] == [False, False, False, True]
    del waiting
    assert memory[-1]() is None


def test_the_one_before_is_fetched_ahead_unless_nobody_needs_it() -> None:
    hooks = waiting_on_host()
    first, second, third, fourth = (hooks.pack_hook(x) for x in some(4, "cpu"))
    hooks.unpack_hook(fourth)
    assert [each.on_device is not None for each in (first, second, third, fourth)] == [0, 0, 1, 0]
    del second
    assert hooks.unpack_hook(third) is not None
    assert [each.on_device is not None for each in (first, third, fourth)] == [0, 0, 0]


@EACH_DEVICE
def test_gradients_of_blocks_that_are_computed_again_are_the_same_to_the_bit(device: str) -> None:
    size = 512 if device == "cuda" else 64  # a GPU computes while it copies; a CPU may be slow in bf16
    weights = [weight.requires_grad_() for weight in some(6, device, size)]
    (x,) = some(1, device, size)

    def gradients(keeping: AbstractContextManager[Any]) -> list[Tensor]:
        y = x
        with keeping:
            for weight in weights:
                y = checkpoint(lambda y, weight=weight: (y @ weight).tanh() + y, y, use_reentrant=False)
        return list(torch.autograd.grad(y.float().square().sum(), weights))

    there = gradients(nullcontext())
    for _ in range(3):
        assert all(map(torch.equal, gradients(waiting_on_host()), there))
