"""Trains the adapter of one task through a service."""

from __future__ import annotations

from bench.composing.rows import Task
from bench.jobs.api_job import jsonl
from bench.peers.measuring import SEED
from bench.training.service import upload
from cli.client.client import Client
from core.catalog import SMOLLM2

RANK, BATCH_SIZE, LEARNING_RATE = 8, 4, 1e-3


def train(client: Client, task: Task) -> str:
    """Create the job of a task, and return its id."""
    hyperparameters = {"n_epochs": task.epochs, "batch_size": BATCH_SIZE}
    body = {
        "model": SMOLLM2.id,
        "training_file": upload(client, jsonl(task.training)),
        "seed": SEED,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "adapter": {"type": "lora", "r": RANK, "lora_alpha": 2 * RANK},
        "training": {"learning_rate": LEARNING_RATE},
    }
    return str(client.post("/fine_tuning/jobs", body)["id"])
