"""Puts what was measured on the adapter's model card.

The card says where the adapter loads in its last section, which is written again. The new card and the
manifest with its hash become files of the measurement. The transaction that ends the measurement puts them in
place of the adapter's own: the adapter's list names the new objects from then on. No other file changes.
"""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from sqlalchemy import func
from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import GRACE, Owner
from core.portability.report import Measurement
from core.storage.file_names import MANIFEST
from core.storage.folders import FolderFile
from core.tables import Adapter, Artifact, Task
from worker.adapter_files.folder import CARD
from worker.adapter_files.portability_section import with_measurement
from worker.tasks.frame.work import Work


def write_measured_card(adapter: Path, found: Measurement, at: datetime, folder: Path) -> None:
    """Write the card of the files in `adapter` with the measurement that ended `at`, and its manifest.

    They go into `folder`.
    """
    card = (adapter / CARD).read_text("utf-8")
    (folder / CARD).write_text(with_measurement(card, found, at), "utf-8")
    facts = json.loads((adapter / MANIFEST).read_text("utf-8"))
    new = asdict(FolderFile.of(folder / CARD))
    facts["files"] = [new if each["name"] == CARD else each for each in facts["files"]]
    (folder / MANIFEST).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def put_card_in_place(session: Session, work: Work) -> None:
    """Have the adapter's list name the files of the measurement in place of its own, and own them."""
    adapter = session.get_one(Adapter, work.task.adapter_id, with_for_update={"key_share": True})
    task = session.get_one(Task, work.lease.task_id)
    if not task.files or task.object_prefix is None:
        return
    new = [{**entry, "key": f"{task.object_prefix}{entry['name']}"} for entry in task.files]
    replaced = {entry["name"] for entry in new}
    # They come first, because a download of all files reads them in this order: a later measurement replaces
    # these two files, and then the janitor removes them.
    adapter.files = [*new, *(entry for entry in adapter.files if entry["name"] not in replaced)]
    holds_the_adapter = func.starts_with(adapter.object_prefix, Artifact.prefix)  # of an import it is longer
    artifacts.doom(session, artifacts.of("adapter", [adapter.id]), ~holds_the_adapter, grace=GRACE)
    artifacts.give(session, task.object_prefix, Owner("adapter", adapter.id))
