"""The forms of an adapter that runtimes are given: the published files, and exports of them."""

import shutil
from dataclasses import replace
from pathlib import Path

from core.exports.requests import GgufAdapterExport, LoraExport, MergedExport
from core.portability.report import Form
from core.portability.traits import traits_of
from worker.adapter_files.folder import write_tokenizer
from worker.tasks.export.gguf_files.adapter import NAME as GGUF_ADAPTER
from worker.tasks.export.gguf_files.adapter import write_gguf_adapter
from worker.tasks.export.gguf_files.model import write_model
from worker.tasks.export.lora import write_lora
from worker.tasks.export.merged import write_merged
from worker.tasks.export.source import Source
from worker.tasks.portability.runtime_process import Candidate

GGUF_MODEL = "model-f32.gguf"


class Forms:
    """Makes the forms of one adapter below a folder, each when it is asked for.

    All weights are written in fp32, so that only the runtime is measured and not a rounding.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self._source, self._folder = source, folder
        self._base_gguf: Path | None = None

    def candidate(self, form: Form) -> Candidate:
        """Return the form as files on the disk. Raises JobError if the adapter has no such form."""
        match form:
            case "as_it_is" if self._source.is_whole_model:
                return Candidate(self._source.folder)
            case "as_it_is":
                rank = traits_of({**self._source.options, "type": self._source.type}).rank or 0
                return Candidate(self._source.base_folder, self._source.folder, rank)
            case "lora":
                report = write_lora(self._source, LoraExport(format="lora"), folder := self._new("lora"))
                return Candidate(self._source.base_folder, folder, report["rank"])
            case "merged":
                asked = MergedExport(format="merged", precision="fp32")
                write_merged(self._source, asked, folder := self._new("merged"))
                write_tokenizer(self._source.tokenizer, folder)
                return Candidate(folder)
            case "gguf":
                return Candidate(self._write_gguf(self._source, "gguf"))
            case "gguf_adapter":
                asked_adapter = GgufAdapterExport(format="gguf_adapter")
                write_gguf_adapter(self._source, asked_adapter, folder := self._new("gguf_adapter"))
                return Candidate(self._base_as_gguf(), folder / GGUF_ADAPTER)
        raise ValueError(f"{form} is not measured")

    def remove(self, form: Form) -> None:
        """Remove the files of a form from the disk. The base model's GGUF stays for the other forms."""
        shutil.rmtree(self._folder / form, ignore_errors=True)

    def _base_as_gguf(self) -> Path:
        """Write the base model itself: as a whole model that nobody has trained."""
        if self._base_gguf is None:
            base = replace(self._source, type="full", folder=self._source.base_folder)
            self._base_gguf = self._write_gguf(base, "base")
        return self._base_gguf

    def _write_gguf(self, source: Source, name: str) -> Path:
        write_model(source, "f32", folder := self._new(name))
        return folder / GGUF_MODEL

    def _new(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder
