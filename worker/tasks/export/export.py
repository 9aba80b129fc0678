"""Makes one export: the files of its format, the tokenizer, a README, a manifest and, last, a signature."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from core.errors import JobError
from core.exports.requests import ExportRequest
from worker.adapter_files.folder import write_manifest, write_tokenizer
from worker.engine.sampler.adapters.check import CONFIG_NAME, invocation_in, read_config
from worker.tasks.export.gguf_files.adapter import write_gguf_adapter
from worker.tasks.export.gguf_files.model import write_gguf
from worker.tasks.export.lora import write_lora, write_mlx
from worker.tasks.export.merged import write_merged
from worker.tasks.export.readme import readme
from worker.tasks.export.signing import HOW_TO_CHECK, SIGNATURE, sign_folder
from worker.tasks.export.signing_key import public_key_sha256
from worker.tasks.export.source import Source, open_source
from worker.tasks.frame.work import Work

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
    asked: ExportRequest = work.request
    with torch.no_grad(), open_source(work) as source:
        _refuse_invoked(source)
        work.progress("converting", 0.2)
        report = FORMATS[asked.format](source, asked, folder)
        if asked.format in WITH_TOKENIZER:
            write_tokenizer(source.tokenizer, folder)
        if source.entry.quantization is not None:
            report["trained_on"] = source.entry.quantization
        key_file = work.settings.signing_key_file
        if key_file is not None:
            report["signature"] = {"file": SIGNATURE, "public_key_sha256": public_key_sha256(key_file)}
        how_to_check = HOW_TO_CHECK if key_file is not None else ""
        (folder / "README.md").write_text(readme(source, asked, report) + how_to_check, "utf-8")
        facts = {
            "adapter_id": source.adapter_id,
            "model": source.model,
            "base_model": source.entry.repository,
            "base_revision": source.entry.revision,
            "export": asked.model_dump(exclude={"destination"}),
            "report": report,
        }
        write_manifest(folder, facts, quantised=False)
        if key_file is not None:
            work.progress("signing", 0.93)
            sign_folder(folder, key_file)
    return report


def _refuse_invoked(source: Source) -> None:
    """Raise JobError for an adapter that acts only from its invocation on: no format says where it acts."""
    if not source.is_whole_model and invocation_in(read_config(source.folder / CONFIG_NAME)):
        raise JobError(
            "not_mergeable",
            "The adapter acts only from its alora_invocation_tokens on, which neither merged weights nor "
            "the other formats can say. Load its own files in PEFT, or serve it with `tunery serve`.",
            "format",
        )
