"""Makes one export: the files of its format, the tokenizer, a README and, last, a manifest."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core.exports.requests import EXPORT_REQUEST
from core.storage.artifacts import Artifact
from worker.exports.gguf_files.adapter import write_gguf_adapter
from worker.exports.gguf_files.model import write_gguf
from worker.exports.lora import write_lora, write_mlx
from worker.exports.merged import write_merged
from worker.exports.readme import readme
from worker.exports.source import Source, open_source
from worker.save.folder import library_versions
from worker.tasks.process import Work

Write = Callable[[Source, Any, Path], dict[str, Any]]
FORMATS: dict[str, Write] = {
    "lora": write_lora,
    "mlx": write_mlx,
    "gguf_adapter": write_gguf_adapter,
    "merged": write_merged,
    "gguf": write_gguf,
}
WITH_TOKENIZER = ("lora", "mlx", "merged")


def make_export(work: Work, folder: Path) -> dict[str, Any]:
    """Write the export that the task asks for, and return its report. Raises JobError if it cannot."""
    asked = EXPORT_REQUEST.validate_python(work.task.request)
    with torch.no_grad(), open_source(work) as source:
        work.report("converting", 0.2)
        report = FORMATS[asked.format](source, asked, folder)
        if asked.format in WITH_TOKENIZER:
            source.tokenizer.save_pretrained(folder)
            (folder / "added_tokens.json").unlink(missing_ok=True)
        (folder / "README.md").write_text(readme(source, asked, report), "utf-8")
        _write_manifest(source, work.task.request, report, folder)
    return report


def _write_manifest(source: Source, request: dict[str, Any], report: dict[str, Any], folder: Path) -> None:
    manifest = {
        "adapter_id": source.adapter_id,
        "model": source.model,
        "base_model": source.entry.repository,
        "base_revision": source.entry.revision,
        "export": request,
        "report": report,
        "versions": library_versions(quantised=False),
        "files": [asdict(Artifact.of(path)) for path in sorted(folder.iterdir())],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
