"""Starts and kills a trainer, which is one process or several that `torchrun` keeps together."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from core.settings import Settings
from worker.process import stop_times
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.supervisor.metrics_page import FOLDER_VARIABLE


def start_trainer(
    settings: Settings, owner: str, channel: socket.socket, metrics: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a trainer. The first process on this machine gets `channel` as its standard input.

    SIGTERM to the returned process reaches all processes of the trainer. They write their metrics into the
    folder `metrics`, if there is one.
    """
    variables = dict(os.environ)
    if metrics is not None:
        variables[FOLDER_VARIABLE] = str(metrics)
    return subprocess.Popen(
        _command(settings, owner),
        stdin=channel.fileno(),
        start_new_session=True,
        env={**TRAINER_ENVIRONMENT, **_group_environment(settings), **variables},
    )


def kill_trainer(process: subprocess.Popen[bytes], owner: str) -> None:
    """Kill all processes of the trainer on this machine and all that they started.

    torchrun leads one process group of the operating system, and each of its processes leads another one. All
    these processes have the owner's name on their command lines, so they are found even if torchrun is gone.
    """
    _kill_group(process.pid)
    for other in psutil.process_iter(["cmdline"]):
        if owner in (other.info["cmdline"] or ()):
            _kill_group(other.pid)
    process.wait()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _command(settings: Settings, owner: str) -> list[str]:
    trainer = ["-m", "worker.trainer.train.trainer", owner]
    if settings.devices == 1:
        return [sys.executable, *trainer]
    processes = ["--nproc-per-node", str(settings.devices // settings.nodes)]
    return [sys.executable, "-m", "torch.distributed.run", *processes, *_rendezvous(settings), *trainer]


def _rendezvous(settings: Settings) -> list[str]:
    """Return torchrun's options that say where the processes meet.

    They leave torchrun's restarts off: the supervisor itself starts another trainer.
    """
    if settings.nodes == 1:
        return ["--standalone", "--local-addr", "127.0.0.1"]
    assert settings.rendezvous is not None
    host, _, port = settings.rendezvous.rpartition(":")
    nodes = ["--nnodes", str(settings.nodes), "--node-rank", str(settings.node_rank)]
    return [*nodes, "--master-addr", host, "--master-port", port]


def _group_environment(settings: Settings) -> dict[str, str]:
    if settings.devices == 1:
        return {}
    threads = max(1, (os.cpu_count() or 1) * settings.nodes // settings.devices)
    return {
        "OMP_NUM_THREADS": str(threads),  # torchrun's own choice is 1
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(stop_times.GROUP),
    }
