"""How a trainer is started, as one process or as several that `torchrun` keeps together, and how killed."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import psutil

from core.settings import Settings
from worker.process import stop_times
from worker.process.lane_limit import MAX_LANES

# glibc gives large blocks back to the system and faults them in again at every step; keeping them nearly
# doubles the speed on a CPU. Each lane of the engine has an arena: in a common one they wait for each other.
# oneDNN keeps code and buffers for every shape that it has multiplied, and a micro-batch of another length is
# another shape: 40 MB each. Threads that wait for each other spin briefly, then sleep: endless spinning is
# not faster here, and ten times slower where another process wants a core.
TRAINER_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_ARENA_MAX": str(MAX_LANES),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "GOMP_SPINCOUNT": "1000",
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def start_trainer(settings: Settings, owner: str, line: socket.socket) -> subprocess.Popen[bytes]:
    """With `line` as its standard input, for the first process on this machine; SIGTERM reaches them all."""
    return subprocess.Popen(
        _command(settings, owner),
        stdin=line.fileno(),
        start_new_session=True,
        env={**TRAINER_ENVIRONMENT, **_group_environment(settings), **os.environ},
    )


def kill_trainer(process: subprocess.Popen[bytes], owner: str) -> None:
    """The trainer, all processes of it on this machine, and whatever they started.

    torchrun leads one process group and each of its processes another one. They are found by the owner's
    name, which all have on their command line, whether torchrun is still there or not.
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
    trainer = ["-m", "worker.train.trainer", owner]
    if settings.devices == 1:
        return [sys.executable, *trainer]
    here = ["--nproc-per-node", str(settings.devices // settings.nodes)]
    return [sys.executable, "-m", "torch.distributed.run", *here, *_meeting_place(settings), *trainer]


def _meeting_place(settings: Settings) -> list[str]:
    """Where the processes meet. A supervisor starts another trainer itself, so torchrun never does."""
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
