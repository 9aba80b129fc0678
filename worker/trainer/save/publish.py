"""Publishes a job's result: the adapter's folder, its upload, and the one transaction that makes it exist."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import Owner
from core.catalog import BaseModelEntry
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.measured import note
from core.jobs.spec import shown_spec
from core.portability.traits import traits_of
from core.process.failpoints import reached
from core.settings import Settings
from core.storage.folders import publish_folder
from core.storage.object_store import ObjectStore, adapter_prefix, file_key
from core.tables import Adapter, File, Job
from core.work import client as tasks
from core.work.kinds import PORTABILITY
from worker.adapter_files.folder import CARD, copy_processor, write_manifest, write_tokenizer
from worker.adapter_files.model_card import model_card
from worker.trainer.report.job_lease import JobLease
from worker.trainer.save.job_evaluation import evaluate_result
from worker.trainer.save.result_table import write_result_table


def describe_dataset(training_file: File, validation_file: File | None) -> dict[str, Any]:
    """Return what the manifest says about the files that the adapter was trained on and validated with."""
    files = {"training_file": training_file, "validation_file": validation_file}
    return {
        name: file and {"id": file.id, "sha256": file.sha256, "rows": file.rows}
        for name, file in files.items()
    }


@dataclass(frozen=True)
class Result:
    """What a job publishes. Its base model may be gone by then, so nothing here is on the device."""

    folder: Path
    """The folder of the adapter"""
    base: BaseModelEntry
    base_folder: Path
    base_sha256: str
    tokenizer: Any
    training: dict[str, Any]
    """How the adapter was trained, for its manifest and its model card"""
    dataset: Mapping[str, Any]
    trained_tokens: int
    """All of the job's tokens, also those of other candidates"""
    measured: dict[str, Any]
    """What is kept with the job"""
    stored: Mapping[str, str]
    """The keys of the files that the last checkpoint has sent, by their SHA-256"""


def complete_adapter_folder(result: Result, job: Job) -> None:
    """Add what else is needed to load the adapter, or the model, anywhere; the manifest last."""
    write_tokenizer(result.tokenizer, result.folder)
    if traits_of(job.spec["adapter"]).is_whole_model:
        copy_processor(result.base_folder, result.folder)
    (result.folder / CARD).write_text(model_card(result.base, job, result.training), "utf-8")
    facts = {
        "job_id": job.id,
        "base_model": result.base.repository,
        "base_revision": result.base.revision,
        "base_sha256": result.base_sha256,
        "dataset": result.dataset,
        "specification": shown_spec(job.spec),
        "training": result.training,
    }
    write_manifest(result.folder, facts, result.base.quantization is not None)


def publish(result: Result, job: Job, job_lease: JobLease, store: ObjectStore, settings: Settings) -> None:
    """Upload the adapter and the table of metrics, then commit both with the job's success.

    Raises LeaseLost.
    """
    lease = job_lease.lease
    adapter_id, result_id = new_id("adapter-"), new_id("file-")
    prefix, key = adapter_prefix(lease.job_id, lease.attempt), file_key(job.project_id, result_id)

    def open_both(session: Session) -> None:
        artifacts.open(session, Owner("job", job.id), prefix, job.project_id, counted=False)
        artifacts.open(session, Owner("job", job.id), key, job.project_id)

    job_lease.commit(open_both)
    files = publish_folder(store, result.folder, prefix, result.stored)
    reached("adapter.uploaded")
    table = write_result_table(store, key, job_lease)
    reached("result.uploaded")

    def commit(session: Session) -> None:
        adapter = Adapter(
            id=adapter_id,
            project_id=job.project_id,
            job_id=job.id,
            object_prefix=prefix,
            files=files,
            training=result.training,
        )
        metrics = File(
            id=result_id,
            project_id=job.project_id,
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            bytes=table.bytes,
            sha256=table.sha256,
            object_key=key,
        )
        artifacts.keep(session, prefix, sum(file["bytes"] for file in files), Owner("adapter", adapter_id))
        artifacts.keep(session, key, table.bytes, Owner("file", result_id))
        lifecycle.finish(session, lease, adapter, metrics, result.trained_tokens, job.spec)
        note(session, lease.job_id, **result.measured)
        evaluate_result(session, session.get_one(Job, lease.job_id), adapter)
        # LoftQ's results belong to a quantised base model, so they cannot be measured
        if settings.measures_at_publication and not traits_of(job.spec["adapter"]).quantisation_repair:
            tasks.create(session, adapter.project_id, PORTABILITY, {}, None, adapter_id=adapter.id)

    job_lease.commit(commit)
    reached("job.finished")
