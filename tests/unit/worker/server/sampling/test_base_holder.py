"""A server's one place for a base model keeps the model as long as the catalog computes the same."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import torch

from core.catalog import SMOLLM2, BaseModelEntry
from worker.server.sampling.base_holder import BaseHolder
from worker.server.sampling.loaded_base import LoadedBase

RELICENSED = SMOLLM2.model_copy(update={"license": "MIT", "created": 1, "quantizable": False})
QUANTISED = SMOLLM2.in_precision("nf4")


class Loads:
    """Base models in name only, and the entries that were loaded."""

    def __init__(self) -> None:
        self.entries: list[BaseModelEntry] = []
        self.fails = False

    async def __call__(self, entry: BaseModelEntry) -> LoadedBase:
        self.entries.append(entry)
        await asyncio.sleep(0)
        if self.fails:
            raise RuntimeError("no such file")

        async def release() -> None:
            pass

        loaded = SimpleNamespace(entry=entry, id=entry.id, device=torch.device("cpu"), release=release)
        return cast(Any, loaded)


def holder_of(loads: Loads) -> BaseHolder:
    return BaseHolder(loads, released=lambda: None, idle_seconds=60)


def test_an_entry_whose_words_change_uses_the_model_in_memory() -> None:
    async def both() -> list[BaseModelEntry]:
        holder = holder_of(loads := Loads())
        async with holder.use(SMOLLM2), asyncio.timeout(5), holder.use(RELICENSED):
            pass
        await holder.close()
        return loads.entries

    assert asyncio.run(both()) == [SMOLLM2]


def test_an_entry_that_computes_otherwise_is_loaded_when_nobody_uses_the_other() -> None:
    async def in_turn() -> list[BaseModelEntry]:
        holder = holder_of(loads := Loads())
        for entry in (SMOLLM2, QUANTISED):
            async with holder.use(entry) as loaded:
                assert loaded.entry == entry
        await holder.close()
        return loads.entries

    assert asyncio.run(in_turn()) == [SMOLLM2, QUANTISED]


def test_all_that_wait_for_a_model_that_cannot_be_loaded_are_refused_at_once() -> None:
    async def refused() -> tuple[list[type], list[BaseModelEntry]]:
        loads = Loads()
        loads.fails = True
        holder = holder_of(loads)

        async def use(entry: BaseModelEntry) -> type:
            try:
                async with holder.use(entry):
                    return object
            except RuntimeError as error:
                return type(error)

        found = await asyncio.wait_for(asyncio.gather(use(SMOLLM2), use(RELICENSED)), 120)
        return list(found), loads.entries

    assert asyncio.run(refused()) == ([RuntimeError, RuntimeError], [SMOLLM2])
