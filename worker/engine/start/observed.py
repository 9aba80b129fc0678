"""Observes the inputs of a base model's layers, without any adapter, for a job's rows one by one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.jobs.spec import JobSpec
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import PlainDecoder
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.objectives.choose import objective_of
from worker.engine.step.data_order import order_of
from worker.engine.step.passes import Abandoned
from worker.rows.row import Row

MOST_TOKENS = 16_384  # a bound, because the other jobs wait while these tokens are computed

Take = Callable[[Row, str, Tensor], None]
"""Called with a row, a module's name and its inputs, [L, K] in the type that the base computes in."""

See = Callable[[str, Tensor, Tensor], None]
"""Called with a module's name, its inputs and its outputs, as the module takes and returns them."""


def first_rows(spec: JobSpec, rows: Sequence[Row], most_tokens: int = MOST_TOKENS) -> list[Row]:
    """Return the rows that the job trains on first, up to the row that makes them `most_tokens` together."""
    objective = objective_of(spec)
    size = objective.rows if objective else 1
    found: list[Row] = []
    tokens = 0
    for example in order_of(spec.seed, 0, len(rows) // size):
        if tokens >= most_tokens:
            break
        of_example = rows[example * size : (example + 1) * size]
        found += of_example
        tokens += sum(len(row.tokens_L) for row in of_example)
    return found


def divided_by_memory(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Yield lists of the modules. What is held for a list takes `most` bytes at most, or is for one module.

    `sizes` has the bytes for each module.
    """
    part: list[str] = []
    held = 0
    for module, size in sizes.items():
        held += size
        if part and held > most:
            yield part
            part, held = [], size
        part.append(module)
    yield part


def observe(base: ResidentBase, modules: Sequence[str], row: Row, take: Take) -> None:
    """Compute a row with transformers' own modules, and call `take` with the inputs of each of `modules`."""
    decoder = through_modules(base)
    (batch,) = pack([JobRows("", [row], 1.0)], len(row.tokens_L), base.device)

    def see(module: str, x: Tensor, _out: Tensor) -> None:
        take(row, module, x.reshape(-1, x.shape[-1]))

    with torch.no_grad(), hooked(base.model, modules, see):
        decoder.hidden(replace(batch, adapter_tokens={}), {})


def through_modules(base: ResidentBase) -> TextDecoder:
    """Return a decoder that computes with transformers' own modules, in which hooks see what passes."""
    return PlainDecoder(base.model, Head.of(base.model)) if base.decoder.path == "fast" else base.decoder


def observe_all(
    base: ResidentBase, modules: Sequence[str], rows: Sequence[Row], take: Take, abandon: Callable[[], bool]
) -> None:
    """Observe each of the rows. Raises Abandoned if `abandon` returns true before one of them."""
    for row in rows:
        if abandon():
            raise Abandoned
        observe(base, modules, row, take)


def sources_of(base: ResidentBase, modules: Sequence[str], row: Row) -> Mapping[str, str]:
    """Return, for each of the modules, the first one that has the same inputs; it may be the module itself.

    Some projections share their inputs, for example those of queries and keys: one observation serves all.
    """
    last: Any = None
    source = ""
    found: dict[str, str] = {}

    def take(_row: Row, module: str, x_LK: Tensor) -> None:
        nonlocal last, source
        if last is None or x_LK.data_ptr() != last.data_ptr() or x_LK.shape != last.shape:
            last, source = x_LK, module
        found.setdefault(module, source)

    observe(base, modules, row, take)
    return {module: found.get(module, module) for module in modules}


@contextmanager
def hooked(model: Any, modules: Sequence[str], see: See) -> Iterator[None]:
    """Call `see` for each of the modules whenever the model computes inside."""

    def hook_of(module: str) -> Callable[[Any, tuple[Tensor, ...], Tensor], None]:
        return lambda _layer, args, out: see(module, args[0], out)

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(model.get_submodule(module).register_forward_hook(hook_of(module)))
        yield
