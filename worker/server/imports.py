"""Imports adapters for the API: fetches the file, has it read in a process of its own, and stores the result.

The event loop only waits: threads fetch and store, and the process reads. If the client leaves, or if the
reading takes too long, the process is killed. The API has opened an artifact for what is stored, and gives
it up if the import fails.
"""

import hashlib
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog
from anyio import BrokenWorkerProcess, CapacityLimiter, move_on_after, to_process

from core.catalog import BaseModelEntry, Catalog, offered_models
from core.errors import InvalidRequest
from core.ids import new_id
from core.serving.imports import Imported, ImportOrder
from core.serving.schemas.coherence import parse
from core.settings import Settings
from core.storage.folders import publish_folder
from core.storage.object_store import ObjectStore
from worker.process.scratch import scratch_folder
from worker.server.exchange import Exchange
from worker.server.reading import entry_of
from worker.server.stored import FOR_FILES, in_base_thread, in_store_thread, open_store
from worker.tasks.importing.apart import import_apart

SECONDS = 300.0  # for reading one file: many times what the largest one takes

BaseFolder = tuple[Path, str]
"""The folder of a base model, and the hash of its source weights."""

Source = tuple[str, str, Path | None, str | None]
"""A base model's id, revision, path and hash: where its weights come from. The operator may change them."""

log = structlog.get_logger()


class Imports:
    """The imports of one server: it reads one file at a time, others wait. Only the event loop may call."""

    def __init__(self, settings: Settings) -> None:
        self._catalog: Catalog = offered_models(settings)
        self._models_folder = settings.models_folder
        self._max_bytes = settings.max_adapter_bytes
        self._store = open_store(settings, FOR_FILES)
        self._limiter = CapacityLimiter(1)
        self._folders: dict[Source, BaseFolder] = {}

    async def run(self, exchange: Exchange, body: dict[str, Any]) -> None:
        """Answer with what is stored now. Raises AppError and ClientGone; then nothing is stored."""
        order = parse(ImportOrder, body)
        exchange.facts |= {"import": order.prefix, "base": order.base}
        exchange.generates = True  # it has its own limit of time
        entry = entry_of(self._catalog, order.base)
        async with self._limiter:
            base = await self._base(entry)
            with scratch_folder("import") as work:
                await in_store_thread(lambda: _fetch(self._store, order, work))
                done = await self._read(order, entry, base, work)
                prefix = f"{order.prefix}{new_id('')}/"
                publish = partial(publish_folder, self._store, work / "adapter", prefix)
                files = await in_store_thread(publish)
        answer = Imported(prefix=prefix, files=files, **done)
        await exchange.answer(200, answer.model_dump_json().encode())

    def close(self) -> None:
        """Leave nothing: each import ends what it has started."""

    async def _base(self, entry: BaseModelEntry) -> BaseFolder:
        """Return the base model's folder, fetched if it is not on the disk."""
        source = entry.id, entry.revision, entry.path, entry.sha256
        if source not in self._folders:
            ensure = partial(_ensure_model, entry, self._models_folder)
            self._folders[source] = await in_base_thread(ensure)
        return self._folders[source]

    async def _read(
        self, order: ImportOrder, entry: BaseModelEntry, base: BaseFolder, work: Path
    ) -> dict[str, Any]:
        with move_on_after(SECONDS):
            try:
                return await to_process.run_sync(
                    partial(import_apart, order, entry, *base, work, self._max_bytes),
                    cancellable=True,
                    limiter=CapacityLimiter(1),
                )
            except BrokenWorkerProcess as error:
                log.warning("import_process_died", key=order.key)
                raise _too_much(
                    "The process that read the file has died, most often of its memory"
                ) from error
        raise _too_much(f"Reading the file took more than {SECONDS:g} seconds")


def _ensure_model(entry: BaseModelEntry, models: Path) -> BaseFolder:
    """Import what fetches base models, and with it torch: not before the first import."""
    found: BaseFolder = import_module("worker.base_models.model_store").ensure_model(entry, models)
    return found


def _fetch(store: ObjectStore, order: ImportOrder, work: Path) -> None:
    """Write the client's file to the disk. Raises InvalidRequest if it is not what was uploaded."""
    digest = hashlib.sha256()
    try:
        with (work / "file").open("wb") as file:
            for chunk in store.read(order.key):
                digest.update(chunk)
                file.write(chunk)
    except FileNotFoundError:
        digest = hashlib.sha256()
    if digest.hexdigest() != order.sha256:
        raise InvalidRequest(
            "The stored content of the file is not what was uploaded. Upload it again.",
            code="damaged_file",
            param="file",
        )


def _too_much(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{what}. Save the adapter as safetensors, without other tensors, and try again.",
        code="adapter_too_large",
        param="file",
    )
