"""The cards of trained, imported and composed adapters with a measurement: only the last section changes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.catalog import SMOLLM2
from core.compositions.requests import ComposeRequest
from core.imports import ImportRequest
from core.jobs.ancestor import Ancestor
from core.jobs.spec import Hyperparameters, JobSpec
from core.methods.low_rank import LoraAdapter
from core.portability.report import Measurement, Prompts
from core.portability.rules import reports_by_rule
from core.storage.folders import FolderFile
from core.tables import Job
from worker.adapter_files.folder import write_manifest
from worker.adapter_files.model_card import model_card
from worker.adapter_files.portability_section import HEADING
from worker.tasks.composition.model_card import composition_card
from worker.tasks.importing.model_card import import_card
from worker.tasks.portability.model_card import write_measured_card

OPTIONS: Mapping[str, Any] = {**LoraAdapter(r=4).model_dump(), "target_modules": ["q_proj"]}
TRAINING = {
    **{"steps": 30, "published_step": 30, "trained_tokens": 4000, "train_loss": 0.5, "full_valid_loss": None},
    **{"target_modules": ["q_proj"], "dtype": "bfloat16", "quantization": None},
}
AT = datetime(2026, 11, 28, 14, 5, tzinfo=UTC)


def trained() -> str:
    numbers = Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model=SMOLLM2.id, seed=1, hyperparameters=numbers)
    return model_card(SMOLLM2, Job(id="ftjob-1", spec=spec.model_dump()), TRAINING)


def imported() -> str:
    request = ImportRequest(
        base_model=SMOLLM2.id, object_key="k", sha256="a" * 64, filename="mine ## Where it loads.zip"
    )
    return import_card(SMOLLM2, request, "peft", OPTIONS)


def composed() -> str:
    parts = [Ancestor(model=f"ft:{name}", sha256="a" * 64, weight=0.5) for name in "ab"]
    adapters = [{"adapter": part.model, "weight": part.weight} for part in parts]
    return composition_card(SMOLLM2, ComposeRequest(adapters=adapters), parts, OPTIONS)


def measurement() -> Measurement:
    return Measurement(
        prompts=Prompts(count=20, from_validation_file=0, from_general_list=20, new_tokens=16),
        runtimes=reports_by_rule(OPTIONS, SMOLLM2.repository, SMOLLM2.revision),
    )


def published(folder: Path, card: str) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text(card)
    (folder / "adapter_config.json").write_text("{}")
    write_manifest(folder, {"job_id": "ftjob-1", "base_sha256": "b" * 64}, quantised=False)
    return folder


@pytest.mark.parametrize("card_of", [trained, imported, composed])
def test_a_measurement_changes_the_last_section_and_its_hash_alone(
    card_of: Callable[[], str], tmp_path: Path
) -> None:
    card, adapter, folder = card_of(), published(tmp_path / "adapter", card_of()), tmp_path / "new"
    folder.mkdir()
    write_measured_card(adapter, measurement(), AT, folder)
    assert {path.name for path in folder.iterdir()} == {"README.md", "manifest.json"}
    new = (folder / "README.md").read_text()
    before, _, section = card.rpartition(HEADING)
    assert new.startswith(before + HEADING)
    assert "Measured on" in new
    assert "Measured on" not in section

    old_facts, facts = (json.loads((each / "manifest.json").read_text()) for each in (adapter, folder))
    entries = {each["name"]: each for each in facts.pop("files")}
    assert entries == {
        "README.md": asdict(FolderFile.of(folder / "README.md")),
        "adapter_config.json": asdict(FolderFile.of(adapter / "adapter_config.json")),
    }
    assert entries["README.md"]["sha256"] == hashlib.sha256(new.encode()).hexdigest()
    old_facts.pop("files")
    assert facts == old_facts
