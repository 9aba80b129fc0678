"""Lists the trainers: all with their defaults, and the peers also with the best settings that we know."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from bench.training.workloads import PAIRS
from worker.engine.kernels.int8.weight import Int8Weight
from worker.process.environment import TRAINER_ENVIRONMENT

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
# Only a trainer's own entry sets these variables: the shell must not tune the defaults of a peer.
UNTUNED = {name for name in os.environ if name.startswith("MALLOC_")} | set(TRAINER_ENVIRONMENT)


@dataclass(frozen=True)
class Trainer:
    """A row of the table: which module runs, and how."""

    name: str
    peer: str
    """A peer of `venvs.PEERS`, or "tunery", which runs in this environment."""
    module: str
    mode: str
    environment: dict[str, str] = field(default_factory=dict)


TRL, HF, LLAMA_FACTORY, UNSLOTH = (
    f"bench.peers.{name}" for name in ("trl_sft", "hf_trainer", "llamafactory", "unsloth_sft")
)
TUNERY = Trainer("Tunery", "tunery", "bench.training.engine", "defaults", TRAINER_ENVIRONMENT)
TUNERY_INT8 = Trainer("Tunery, int8", "tunery", "bench.training.engine", "int8", TRAINER_ENVIRONMENT)
TRAINERS = [
    TUNERY,
    TUNERY_INT8,
    Trainer("TRL defaults", "trl", TRL, "defaults"),
    Trainer("TRL tuned", "trl", TRL, "tuned", KEEP_MEMORY),
    Trainer("HF Trainer defaults", "hf", HF, "defaults"),
    Trainer("HF Trainer tuned", "hf", HF, "tuned", KEEP_MEMORY),
    Trainer("LLaMA-Factory defaults", "llamafactory", LLAMA_FACTORY, "defaults"),
    Trainer("LLaMA-Factory tuned", "llamafactory", LLAMA_FACTORY, "tuned", KEEP_MEMORY),
    Trainer("Unsloth defaults", "unsloth", UNSLOTH, "defaults"),
]
TRL_DPO = "bench.peers.trl_dpo"
ON_PAIRS = [
    TUNERY,
    Trainer("TRL defaults", "trl", TRL_DPO, "defaults"),
    Trainer("TRL tuned", "trl", TRL_DPO, "tuned", KEEP_MEMORY),
]


def trainers_of(workload: str) -> list[Trainer]:
    """Return the trainers of a workload; ours with products in 8 bits only where the device has them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    in_8_bits = Int8Weight.is_fast_on(device)
    trainers = ON_PAIRS if workload == PAIRS else TRAINERS
    return [trainer for trainer in trainers if in_8_bits or trainer is not TUNERY_INT8]
