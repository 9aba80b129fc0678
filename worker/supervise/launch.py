"""Starts and kills a trainer, which is one process or several that `torchrun` keeps together."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from core.settings import Settings
from worker.process import stop_times
from worker.process.lane_limit import MAX_LANES

# Trainers and servers start with this environment.
# MALLOC_…: by default, glibc gives large blocks back to the system and faults them in again in every step.
# Keeping the blocks nearly doubles the speed on a CPU. Each lane of the engine has its own arena: lanes that
# share an arena wait for each other.
# ONEDNN_…: oneDNN caches code and buffers for every shape that it has multiplied. Each new length of a
# micro-batch brings new shapes, which take 40 MB.
# GOMP_SPINCOUNT: threads that wait for each other spin briefly and then sleep. Endless spinning is not faster
# here, and it is ten times slower if another process needs a core.
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
SCRATCH = "tunery-trainer-"


def start_trainer(settings: Settings, owner: str, channel: socket.socket) -> subprocess.Popen[bytes]:
    """Start a trainer. The first process on this machine gets `channel` as its standard input.

    SIGTERM to the returned process reaches all processes of the trainer. Their temporary files lie in a
    folder of the trainer's own, which `kill_trainer` removes: a process that is killed removes nothing.
    """
    scratch = _scratch_of(owner)
    scratch.mkdir(mode=0o700)
    return subprocess.Popen(
        _command(settings, owner),
        stdin=channel.fileno(),
        start_new_session=True,
        env={
            **TRAINER_ENVIRONMENT,
            **_group_environment(settings),
            **os.environ,
            "TMPDIR": str(scratch),
        },
    )


def kill_trainer(process: subprocess.Popen[bytes], owner: str) -> None:
    """Kill all processes of the trainer on this machine and all that they started. Remove their scratch.

    torchrun leads one process group of the operating system, and each of its processes leads another one. All
    these processes have the owner's name on their command lines, so they are found even if torchrun is gone.
    """
    _kill_group(process.pid)
    for other in psutil.process_iter(["cmdline"]):
        if owner in (other.info["cmdline"] or ()):
            _kill_group(other.pid)
    process.wait()
    shutil.rmtree(_scratch_of(owner), ignore_errors=True)


def remove_scratch_of_the_dead() -> None:
    """Remove the temporary files of trainers whose supervisor was killed too. Call this before a start."""
    folders = list(Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"))
    if not folders:
        return
    words = {word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()}
    living = {word.rpartition(":")[2] for word in words}
    for folder in folders:
        if folder.name.removeprefix(SCRATCH) not in living:
            shutil.rmtree(folder, ignore_errors=True)


def _scratch_of(owner: str) -> Path:
    """Return the folder for temporary files of the trainer. The owner's name ends with a random id."""
    return Path(tempfile.gettempdir()) / f"{SCRATCH}{owner.rpartition(':')[2]}"


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _command(settings: Settings, owner: str) -> list[str]:
    trainer = ["-m", "worker.train.trainer", owner]
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
