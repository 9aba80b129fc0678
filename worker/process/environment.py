"""The environment with which trainers and servers start. The command line reads it, so it imports little."""

import os

from core.estimates.lanes import MAX_LANES

# Trainers and servers start with this environment.
# MALLOC_…: by default, glibc gives large blocks back to the system and faults them in again in every step.
# Keeping the blocks nearly doubles the speed on a CPU. Each lane of the engine has its own arena: lanes that
# share an arena wait for each other.
# ONEDNN_…: oneDNN keeps the code of the shapes that it multiplied last. A micro-batch of six small jobs has
# 200. If they do not all fit, each of them is compiled anew in every layer; room for 1,024 takes memory only.
# LRU_CACHE_CAPACITY: PyTorch keeps a description of each of these shapes too, by default of 1,024 in each
# thread, 0.15 MB each. A description is of little use without oneDNN's code for it.
# PYTORCH_ALLOC_CONF: on a GPU, PyTorch's blocks grow in place. Otherwise blocks for micro-batches of other
# lengths stay beside them, unused, and memory runs out although enough is free.
# GOMP_SPINCOUNT: threads that wait for each other spin briefly and then sleep. Endless spinning is not faster
# here, and it is ten times slower if another process needs a core.
TRAINER_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_ARENA_MAX": str(MAX_LANES),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    "LRU_CACHE_CAPACITY": "128",
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    "GOMP_SPINCOUNT": "1000",
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def ensure_trainer_environment(command: list[str]) -> None:
    """Become this command with the environment, unless it is there: libraries read it as a process starts."""
    if not TRAINER_ENVIRONMENT.keys() <= os.environ.keys():
        os.execve(command[0], command, {**TRAINER_ENVIRONMENT, **os.environ})  # noqa: S606
