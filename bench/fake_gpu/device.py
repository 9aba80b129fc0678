"""A GPU that is not there: tensors on `cuda` without values, and what the host would do with a real one.

PyTorch's fake tensors know shape, type and device, and check all three in each call. Tensors of the host keep
their values, as they do beside a real GPU. The mode notes where the host waits for the GPU, and how many
kernels it starts.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from bitsandbytes.functional import quantize_4bit
from peft.tuners.lora import dora
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bench import ROOT
from bench.fake_gpu.roofline import H100, Card
from bench.memory.tracked import even_bounds
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.device import waiting_on_host
from worker.engine.kernels import grouped, operations
from worker.engine.kernels.experts import layer as experts
from worker.engine.kernels.fp8 import weight as fp8

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
BOUNDS_OF, ON_GPU = experts.bounds_of, operations.on_gpu
PRODUCT = f"{ROOT / 'worker'}/"
DATA_DEPENDENT = {aten.nonzero.default, aten.masked_select.default, aten.unique_dim.default}
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh"}


Change = Callable[[operations.Operations], operations.Operations]


def unchanged(do: operations.Operations) -> operations.Operations:
    """Return the GPU's operations as they are."""
    return do


# What PyTorch's compiler makes of these functions, forward and backward; of others one kernel each
KERNELS = {"attended": (4, 3), "attended_by_heads": (1, 2)}


class FakeGpu(TorchDispatchMode):
    """Computes without values what touches the GPU, and everything else as it is.

    `waits` counts, by the place in the product, what would make the host wait until the GPU has computed all
    that it was told: values that are read, and copies that are not made aside. `launches` counts kernels.
    """

    supports_higher_order_operators = True

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.seconds = 0.0
        self._card, self._fused = card, False

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "namespace", None) == "prim":
            return function(*args, **kwargs)  # asks a tensor for its device
        if isinstance(function, OpOverload) and function._can_decompose():
            with self:
                return function.decompose(*args, **kwargs)
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        on_gpu = [each for each in given if each.device.type == "cuda"]
        if "pin" in _name(function):  # memory that a GPU reads is ordinary memory here
            return False if _name(function) == "is_pinned" else args[0]
        goes_there = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda"
        if not on_gpu and not goes_there and not any(isinstance(each, FakeTensor) for each in given):
            with unset_fake_temporarily():
                return function(*args, **kwargs)
        if self._waits(function, args, kwargs, on_gpu):
            self.waits[place()] += 1
        if function is aten._local_scalar_dense.default:
            return 1.0 if args[0].dtype.is_floating_point else 0
        out = function(*args, **kwargs)
        if not self._fused and _starts_a_kernel(function):
            self.launches[_name(function)] += 1
            self.seconds += self._card.seconds(function, args, kwargs, out)
        if function is aten._to_copy.default and out.device.type == "cpu":
            with unset_fake_temporarily():
                return torch.ones(out.shape, dtype=out.dtype)  # some values that the host may go on with
        return out

    def _waits(self, function: Any, args: Any, kwargs: Any, on_gpu: list[Tensor]) -> bool:
        if function is aten._to_copy.default:
            devices = {args[0].device.type, torch.device(kwargs.get("device") or args[0].device).type}
            return devices == {"cpu", "cuda"} and not kwargs.get("non_blocking")
        if function is aten.copy_.default:
            devices = {args[0].device.type, args[1].device.type}
            blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            return devices == {"cpu", "cuda"} and blocking
        if function in (aten.index.Tensor, aten.index_put_.default):
            indices = [each for each in args[1] if each is not None]
            return any(each.device.type == "cpu" or each.dtype == torch.bool for each in indices)
        return bool(on_gpu) and (function is aten._local_scalar_dense.default or function in DATA_DEPENDENT)

    def read(self, tensor: FakeTensor) -> Any:
        """Return some values in the place of a tensor's, as nested lists."""
        if tensor.device.type == "cuda":
            self.waits[place()] += 1
        with unset_fake_temporarily():
            return torch.full(tensor.shape, int(tensor.is_floating_point()), dtype=tensor.dtype).tolist()

    def even_bounds(self, keys_P: Tensor, count: int, tokens: int, edges: Sequence[int]) -> list[list[int]]:
        """Return the bounds of experts that have equally many tokens, after asking the GPU for them."""
        BOUNDS_OF(keys_P, count, tokens, edges)
        return even_bounds(keys_P, count, tokens, edges)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as `torch.compile` would: some kernels forward, and some backward."""
        kernels = KERNELS.get(getattr(function, "__name__", ""), (1, 1))

        def call(*arguments: Any) -> Any:
            return _Fused.run(self, function, kernels, arguments)

        return call

    def fused(self, kernels: int, compute: Callable[[], Any], given: Any) -> Any:
        """Count what `compute` computes as so many kernels, which read and write each value once."""
        before, self._fused = self._fused, True
        try:
            out = compute()
        finally:
            self._fused = before
        if not before:
            self.launches["compiled"] += kernels
            self.seconds += self._card.moving((given, out))
        return out

    def clear(self) -> None:
        """Forget what was counted."""
        self.waits.clear()
        self.launches.clear()
        self.seconds = 0.0


class _Fused(torch.autograd.Function):
    @classmethod
    def run(cls, gpu: FakeGpu, function: Callable[..., Any], kernels: tuple[int, int], given: Any) -> Any:
        leaves = [each for each in tree_leaves(given) if isinstance(each, Tensor)]
        if not torch.is_grad_enabled() or not any(each.requires_grad for each in leaves):
            return gpu.fused(kernels[0], lambda: function(*given), given)
        return cls.apply(gpu, function, kernels, given, *leaves)

    @staticmethod
    def forward(
        ctx: Any, gpu: FakeGpu, function: Any, kernels: tuple[int, int], given: Any, *leaves: Any
    ) -> Any:
        copies = [each.detach().requires_grad_(each.requires_grad) for each in leaves]
        left = iter(copies)
        inputs = tree_map(lambda each: next(left) if isinstance(each, Tensor) else each, given)
        with torch.enable_grad():
            ctx.out = gpu.fused(kernels[0], lambda: function(*inputs), leaves)
        ctx.gpu, ctx.copies, ctx.kernels = gpu, copies, kernels
        return ctx.out.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        wanted = [each for each in ctx.copies if each.requires_grad]
        found = iter(
            ctx.gpu.fused(
                ctx.kernels[1],
                lambda: torch.autograd.grad(ctx.out, wanted, gradient),
                (gradient, ctx.out, ctx.copies),
            )
        )
        gradients = (next(found) if each.requires_grad else None for each in ctx.copies)
        return None, None, None, None, *gradients


class Stream:
    """A stream that has nothing to wait for."""

    def __init__(self, _device: torch.device) -> None: ...

    def wait_stream(self, _other: Stream) -> None: ...


@contextmanager
def fake_gpu(capability: tuple[int, int], card: Card = H100, change: Change = unchanged) -> Iterator[FakeGpu]:
    """Let the engine find a GPU of this compute capability inside, with all compilers."""
    quantize_4bit(torch.zeros(64), quant_type="nf4", compress_statistics=True)  # makes and keeps its tables
    gpu = FakeGpu(card)
    with ExitStack() as stack:
        for owner, name, value in (
            (torch.cuda, "is_available", lambda: False),  # nothing is to be computed there
            (torch.accelerator, "current_accelerator", lambda *_, **__: None),
            (torch.cuda, "get_device_capability", lambda *_: capability),
            (torch.cuda, "Stream", Stream),
            (torch.cuda, "current_stream", Stream),
            (torch.cuda, "stream", lambda _stream: nullcontext()),
            (torch, "compile", gpu.compiled),
            (flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True),
            (nn.Module, "to", _where_it_is),
            (FakeTensor, "tolist", lambda tensor: gpu.read(tensor)),
            (experts, "bounds_of", gpu.even_bounds),
            (dora, "dequantize_module_weight", weight_of),
            (operations, "can_compile", lambda: True),
            (operations, "on_gpu", lambda *given: change(ON_GPU(*given))),
            (fp8, "can_compile", lambda: True),
        ):
            stack.enter_context(patch.object(owner, name, value))
        for cached in (operations.operations_on, waiting_on_host._stream, grouped._offsets):
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))  # modes hold on one thread
        stack.enter_context(gpu.fake)
        stack.enter_context(gpu)
        yield gpu


def _where_it_is(module: nn.Module, *_: Any, **__: Any) -> nn.Module:
    """Return the module. It is made on the GPU, and PyTorch cannot exchange tensors without values."""
    return module


def place() -> str:
    """Return the innermost function of the product that is running, as file:function."""
    frame = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PRODUCT):
            return f"{code.co_filename.removeprefix(PRODUCT)}:{code.co_qualname}".replace(".<locals>", "")
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


def _starts_a_kernel(function: Any) -> bool:
    """Return whether a call computes: it is neither a view nor memory without values."""
    if not hasattr(function, "_schema"):
        return True
    if _name(function) in NO_KERNEL:
        return False
    aliases = [each.alias_info for each in function._schema.returns if each.alias_info is not None]
    return not aliases or any(each.is_write for each in aliases)


def _name(function: Any) -> str:
    return str(function._schema.name.split("::")[-1]) if hasattr(function, "_schema") else str(function)
