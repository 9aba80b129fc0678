"""Imports one file: reads it, checks it against the base model, and writes a folder as jobs publish it."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer

from core.catalog import BaseModelEntry
from core.serving.imports import Format, ImportOrder
from worker.adapter_files.folder import CARD, write_manifest, write_tokenizer
from worker.process.faults import disk_fault
from worker.tasks.importing import archive
from worker.tasks.importing.card import import_card
from worker.tasks.importing.factors import LoraFactors, check_fit
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.loralib import LoralibOptions, read_loralib
from worker.tasks.importing.peft_folder import WANTED, read_peft_folder
from worker.tasks.importing.refusal import refusal
from worker.tasks.importing.tensors import Tensors, read_pickle, read_safetensors
from worker.tasks.importing.writing import write_lora

ZIP, PICKLE = (b"PK\x03\x04", b"PK\x05\x06"), b"\x80"
MAX_TORCH_RECORDS = 100_000


def import_file(
    order: ImportOrder, entry: BaseModelEntry, base: Path, base_sha256: str, work: Path, max_bytes: int
) -> dict[str, Any]:
    """Write the adapter's files into `work`/adapter. The file is `work`/file.

    `base` is the folder of the base model. Return the format, the options and the facts of the adapter.
    Raises InvalidRequest if the file is refused.
    """
    layers = Layers(base)
    try:
        format_, lora = _read(order, entry, layers, work, max_bytes)
    except SafetensorError as error:
        if disk_fault(error):
            raise
        raise refusal("invalid_safetensors", f"The safetensors are damaged: {error}.") from error
    check_fit(lora, layers)
    folder = work / "adapter"
    options, facts = write_lora(lora, layers, entry, folder)
    write_tokenizer(AutoTokenizer.from_pretrained(base, trust_remote_code=False), folder)
    (folder / CARD).write_text(import_card(entry, order, format_, options), "utf-8")
    described = {
        "imported": {"format": format_, "filename": order.filename, "sha256": order.sha256},
        "base_model": entry.repository,
        "base_revision": entry.revision,
        "base_sha256": base_sha256,
        "adapter": options,
    }
    write_manifest(folder, described, entry.quantization is not None)
    return {"format": format_, "options": options, "facts": facts}


def _read(
    order: ImportOrder, entry: BaseModelEntry, layers: Layers, work: Path, max_bytes: int
) -> tuple[Format, LoraFactors]:
    """Return the format and the adapter. The file's first bytes decide what it is read as."""
    file = work / "file"
    with file.open("rb") as opened:
        beginning = opened.read(9)
    options = LoralibOptions(order.lora_alpha, order.r, order.enable_lora)
    if beginning.startswith(ZIP) and not archive.is_torch_archive(file):
        unpacked = work / "unpacked"
        unpacked.mkdir()
        archive.unpack(file, WANTED, unpacked, max_bytes)
        return "peft", read_peft_folder(unpacked, entry, layers, max_bytes)
    return "loralib", read_loralib(_checkpoint(file, beginning, order.filename, max_bytes), layers, options)


def _checkpoint(file: Path, beginning: bytes, name: str, max_bytes: int) -> Tensors:
    if beginning.startswith(ZIP):
        archive.check_members(file, max_bytes, most=MAX_TORCH_RECORDS)
        return read_pickle(file, max_bytes, name)
    if beginning.startswith(PICKLE):
        return read_pickle(file, max_bytes, name)
    if beginning[8:9] == b"{":
        return read_safetensors(file)
    raise refusal(
        "unsupported_format",
        "The file is neither a zip of PEFT's files, nor safetensors, nor a checkpoint of `torch.save`. Pack "
        "the folder that PEFT has saved, or send loralib's state dict.",
    )
