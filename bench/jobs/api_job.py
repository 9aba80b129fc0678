"""Runs one job over the API of a service that is started for this job and stopped after it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.measuring import SEED
from bench.training.running import RunFailed
from bench.training.service import download, largest_peak, service, upload, wait
from bench.training.workloads import Row
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import BaseModelEntry
from core.errors import TuneryError


@dataclass(frozen=True)
class Request:
    """A job to run: the base model, the adapter, the rows, and the length of the training."""

    base: BaseModelEntry
    adapter: dict[str, Any]
    training: Sequence[Row]
    validation: Sequence[Row]
    """May be empty."""
    epochs: int
    batch_size: int
    learning_rate: float | None = None
    """None stands for the method's usual learning rate."""


@dataclass(frozen=True)
class Trained:
    """The facts that the service reports about a job that succeeded."""

    job: dict[str, Any]
    metrics: list[dict[str, Any]]
    """The metrics of each step, in order."""
    peak_rss_bytes: int
    """The largest resident set that the trainer ever had. This trainer also loaded the base model."""


def train(request: Request, models: Path, adapter: Path) -> Trained:
    """Run the job and save its adapter in the folder `adapter`. Raises RunFailed."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            catalog = Path(folder) / "catalog.toml"
            catalog.write_text(catalog_of(request.base))
            settings = {"TUNERY_CATALOG_FILE": str(catalog)}
            with service(Path(folder) / "home", models, settings) as (up, client):
                job_id = create(client, request)
                wait(client, [job_id])
                download(client, job_id, adapter)
                job = client.get(job_path(job_id))
                return Trained(job, metrics_of(client, job_id), largest_peak(up))
    except TuneryError as error:
        raise RunFailed(str(error)) from error


def create(client: Client, request: Request) -> str:
    hyperparameters = {"n_epochs": request.epochs, "batch_size": request.batch_size}
    body = {
        "model": request.base.id,
        "training_file": upload(client, jsonl(request.training)),
        "validation_file": upload(client, jsonl(request.validation)) if request.validation else None,
        "seed": SEED,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "adapter": request.adapter,
        "training": {"learning_rate": request.learning_rate} if request.learning_rate else {},
    }
    return str(client.post("/fine_tuning/jobs", body)["id"])


def metrics_of(client: Client, job_id: str) -> list[dict[str, Any]]:
    events = client.every(f"{job_path(job_id)}/events")
    metrics = [event["data"] for event in events if event["type"] == "metrics"]
    return sorted(metrics, key=lambda step: step["step"])


def catalog_of(entry: BaseModelEntry) -> str:
    """Return a catalog with this one base model, as TOML."""
    fields = entry.model_dump(mode="json", exclude_none=True).items()
    return "[[model]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields)


def jsonl(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
