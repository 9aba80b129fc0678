"""The trainer process, `python -m worker.trainer.train.trainer OWNER`: it claims, trains and publishes jobs.

`loop.py` has what it does. This file starts it and stops it. Its standard input is a socket to its
supervisor. A line from the supervisor means that jobs may be waiting. The end of input means that the
supervisor is gone. While the trainer leaves jobs in the queue on purpose, it tells the supervisor through the
same socket. At SIGTERM and at the end of input, the trainer saves checkpoints, gives its jobs back and stops.

If several processes train together, only the first process does this. The others follow its orders
(`worker/trainer/devices/process_group.py`).
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import get_args

import structlog
import torch

from core.database import create_database, session_factory
from core.monitoring import declared
from core.process.logs import configure_logs
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tracing import spans
from worker.device.lending import Lending
from worker.device.model_holder import ModelHolder
from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.base.base_model import choose_device
from worker.engine.device.health import check_device, device_is_broken, finish_computing
from worker.engine.step.processes import from_environment, number_on_machine
from worker.grading.grading_thread import GradingThread
from worker.process import stop_times
from worker.process.exit_statuses import DEVICE_BROKEN
from worker.process.recorder import recorder
from worker.process.scratch import remove_abandoned
from worker.process.stop_requests import at_signal
from worker.rendering.renderer import Renderer
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import Readers
from worker.trainer.save.shipping import Saved
from worker.trainer.train.claims import Claims
from worker.trainer.train.loop import TrainingLoop
from worker.trainer.train.server_probe import ServerProbe, open_artifacts_of_a_test
from worker.trainer.train.serving import ServingThread
from worker.trainer.train.worker_status import WorkerStatus

log = structlog.get_logger()


class Trainer:
    """The training loop of a process, with the threads beside it."""

    def __init__(
        self,
        settings: Settings,
        owner: str,
        process_group: ProcessGroup,
        renderer: Renderer,
        say_that_it_waits: Callable[[], object] = lambda: None,
    ) -> None:
        """`say_that_it_waits` is called while this trainer leaves jobs in the queue on purpose.

        The trainer leaves them there while the store or the disk fails, while it loads a base model for a
        chat, or if this release cannot train them.
        """
        self._owner = owner
        self._process_group = process_group
        self._bell = bell = threading.Event()
        holder = process_group.holder
        self._device = holder.device
        sessions = session_factory(create_database(settings.server("database_url")))
        store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
        server_probe = ServerProbe(
            store, settings.scan_seconds, bell.set, partial(open_artifacts_of_a_test, sessions, owner)
        )
        slices = TimeSlices(settings.serve_share, finish=partial(finish_computing, holder.device))
        lending = Lending(holder, slices, bell.set, say_that_it_waits)
        self._grading = GradingThread(settings, sessions, renderer)
        self._claims = Claims(
            settings,
            sessions,
            store,
            owner,
            process_group,
            server_probe,
            bell,
            self._grading,
            say_that_it_waits,
        )
        self._readers = Readers(settings, store, renderer)
        self._loop = TrainingLoop(
            settings, process_group, self._claims, self._readers, server_probe, lending, bell
        )
        self._server = ServingThread(settings, lending) if settings.serve_share else None
        self._worker_status = WorkerStatus(settings, sessions, owner, holder)

    def run(self) -> None:
        """Train until told to stop. Raises errors that no job has caused, such as a broken device."""
        check_device(self._device)  # first: a job claimed on a broken device would be lost
        log.info(
            "trainer_ready",
            owner=self._owner,
            device=str(self._device),
            threads=torch.get_num_threads(),
            processes=self._process_group.size,
        )
        self._worker_status.start()
        for what in get_args(Saved):  # an alert sees no increase in a series that begins at 1
            recorder.count(declared.SAVE_FAILURES, 0, what=what)
        self._bell.set()
        if self._server is not None:
            self._server.start()
        self._loop.run()
        self._worker_status.end()
        self._readers.threads.shutdown()
        self._claims.shippers.shutdown()
        self._grading.close()
        if self._server is not None:
            self._server.join()
        self._process_group.dismiss()

    def wake(self) -> None:
        """Look for jobs again, soon. May be called from any thread."""
        self._bell.set()

    def stop(self) -> None:
        """Have `run` give its jobs back and return. May be called from any thread."""
        self._process_group.stop()
        if self._server is not None:
            self._server.stop()
        self._bell.set()


def main() -> None:
    gc.freeze()  # no collection walks over the modules of torch and transformers: that takes 0.25 s
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    number = number_on_machine()
    device = choose_device(settings.device, number)
    holder = ModelHolder(settings, device)
    watchdog = Watchdog(settings.hang_seconds)
    watchdog.start()
    process_group = ProcessGroup(
        holder, from_environment(device), settings.max_step_tokens, watchdog, settings.recompute
    )
    try:
        _serve(settings, process_group)
    except BaseException as error:
        log.critical("trainer_broke", number=number, exc_info=error)
        # Exit at once: an orderly exit would wait for the readers, and all leases would be renewed meanwhile.
        # Besides, torchrun ends the other processes only when this process has ended.
        os._exit(DEVICE_BROKEN if device_is_broken(error) else 1)
    if number is not None and not process_group.stopping:
        sys.exit(1)  # another machine was told to stop; after status 0, torchrun would wait for its processes


def _serve(settings: Settings, process_group: ProcessGroup) -> None:
    """Train as the first process, or follow the first process's orders, until told to stop."""
    trainer = None
    if process_group.is_first:
        spans.start("trainer")
        remove_abandoned()
        line = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        say_that_it_waits = partial(_say_that_it_waits, line)
        trainer = Trainer(settings, sys.argv[1], process_group, Renderer(), say_that_it_waits)

    def stop() -> None:
        (trainer or process_group).stop()
        time.sleep(stop_times.TRAINER)
        os._exit(1)

    at_signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles a terminal's Ctrl-C
    if not number_on_machine():  # all processes of a machine share one standard input: one of them listens
        wake = trainer.wake if trainer else lambda: None
        threading.Thread(target=_listen, args=(wake, stop), daemon=True).start()
    if trainer:
        trainer.run()
    else:
        process_group.follow()


def _listen(wake: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `wake` for each line of standard input, and `stop` at its end."""
    with suppress(OSError):  # also means the end: the supervisor died before it read all messages
        for _ in sys.stdin:
            wake()
    stop()


def _say_that_it_waits(line: socket.socket) -> None:
    """Tell the supervisor that this trainer waits on purpose.

    Drop the message if the supervisor is not reading, so that the trainer never blocks on it.
    """
    with suppress(OSError):
        line.send(b"waiting\n", socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main()
