"""Loads what a request asks for: its base model, once the requests before it allow that, and its adapter."""

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from core.catalog import BaseModelEntry, offered_models
from core.errors import JobError, OutsideFault, Unavailable
from core.serving.served_model import ServedModel
from core.settings import Settings
from core.tracing import spans
from worker.device.watchdog import Watchdog
from worker.engine.device.health import device_is_broken
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.sampler import Load
from worker.process import stop_times
from worker.process.exit_statuses import DEVICE_BROKEN
from worker.process.scratch import remove_abandoned
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer
from worker.server.errors import ModelUnavailable
from worker.server.reading import entry_of
from worker.server.sampling.adapters import Adapters
from worker.server.sampling.base_holder import BaseHolder
from worker.server.sampling.bases import Bases
from worker.server.sampling.loaded_base import LoadedBase, load_sampler
from worker.server.sampling.prompting import Prompting
from worker.server.sampling.sampler_thread import SamplerThread
from worker.server.sampling.served_images import ServedImages
from worker.server.stored import FOR_ANSWERS, open_store
from worker.server.threads import in_daemon_thread

TAKEN = "A job needs the device for another base model, and the answer took too long. Send the request again."
LAST_WORDS_SECONDS = 1.0  # for the errors of a broken device's requests to reach their clients

log = structlog.get_logger()


class Models:
    """The base model and the adapters that this server has loaded. Only the event loop may call."""

    def __init__(
        self,
        settings: Settings,
        bases: Bases,
        get_renderer: Callable[[], Renderer],
        answer_seconds: float = stop_times.STREAMS,
    ) -> None:
        """Answers may go on for `answer_seconds` once their base model is asked back."""
        self._settings, self._bases, self._get_renderer = settings, bases, get_renderer
        self._answer_seconds = answer_seconds
        self._catalog = offered_models(settings)
        self._loop = asyncio.get_running_loop()
        self._store = open_store(settings, FOR_ANSWERS)
        remove_abandoned()
        self._watchdog = Watchdog(settings.hang_seconds)
        self._watchdog.start()
        self._holder = BaseHolder(self._load, bases.give_back, settings.serve_idle_seconds)

    @property
    def resident(self) -> str | None:
        """The id of the base model that is loaded. May be read from any thread."""
        loaded = self._holder.loaded
        return loaded.id if loaded else None

    @property
    def warm_adapters(self) -> list[str]:
        """The content hashes of the adapters that are loaded. May be read from any thread."""
        loaded = self._holder.loaded
        return loaded.adapters.warm if loaded else []

    @property
    def loading(self) -> str | None:
        """How far the present load of a base model has come, if there is one."""
        loading = self._bases.loading
        return str(loading) if loading else None

    @property
    def load(self) -> Load | None:
        """How busy the sampler is, if there is one."""
        loaded = self._holder.loaded
        return loaded.load() if loaded else None

    @asynccontextmanager
    async def use(self, model: ServedModel) -> AsyncIterator[tuple[LoadedBase, ServedAdapter | None]]:
        """Yield the base model and the adapter, and keep them in memory during the block.

        Raises NotFound, ModelUnavailable, AdapterDamaged and Unavailable.
        """
        entry = self._entry(model)
        async with (
            spans.entering("chat.base", self._holder.use(entry)) as base,
            spans.entering("chat.adapter", base.adapters.use(model.adapter)) as adapter,
        ):
            yield base, adapter

    async def close(self) -> None:
        await self._holder.close()

    def _entry(self, model: ServedModel) -> BaseModelEntry:
        """Return the base model in the precision that the model was trained in. Raises NotFound."""
        return entry_of(self._catalog, model.base).in_precision(model.precision)

    async def _load(self, entry: BaseModelEntry) -> LoadedBase:
        renderer = self._get_renderer()  # it starts while the base model is loaded
        try:
            cache_bytes = self._settings.serve_cache_bytes
            load = partial(load_sampler, self._bases, entry, cache_bytes, self._asked_back)
            base, sampler, room = await in_daemon_thread(load, "loader")
        except JobError as error:
            raise ModelUnavailable(str(error)) from error
        except OutsideFault as error:
            raise Unavailable(f"{error}. Try again later.") from error
        log.info("base_model_loaded", model=entry.id, precision=entry.precision, slow=sampler.why_slow)
        adapters = Adapters(self._store, sampler.load_adapter, self._settings.serve_adapter_bytes)
        thread = SamplerThread(sampler, self._bases.slices, self._watchdog, self._sampler_broke)
        prompting = Prompting(renderer, base.folder, CallsRequest())
        images = ServedImages(base.tower, base.folder, thread) if base.tower else None
        return LoadedBase(base, sampler, adapters, thread, prompting, room, images)

    def _sampler_broke(self, error: BaseException) -> None:
        """Load the model anew for the next request, or end the process if the device itself is broken."""
        if device_is_broken(error):
            log.critical("device_broken")
            self._loop.call_later(LAST_WORDS_SECONDS, os._exit, DEVICE_BROKEN)
        self._holder.let_go()

    def _asked_back(self) -> None:
        """Have the base model given back soon. May be called from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody has it any more
            self._loop.call_soon_threadsafe(self._give_back_soon)

    def _give_back_soon(self) -> None:
        log.info("base_model_asked_back")
        loaded = self._holder.loaded
        self._holder.let_go()
        if loaded is not None:
            # The timer holds the model weakly: the loop keeps it even after the model was given back
            self._loop.call_later(self._answer_seconds, self._end_answers, weakref.ref(loaded))

    def _end_answers(self, of: "weakref.ref[LoadedBase]") -> None:
        loaded = of()
        if loaded is not None and loaded is self._holder.loaded:
            loaded.sampler.end_all(TAKEN)
