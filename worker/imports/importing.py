"""Imports one file: reads it, checks it against the base model, and writes a folder as jobs publish it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors import SafetensorError
from transformers import AutoTokenizer

from core.catalog import BaseModelEntry
from core.serving.imports import Format, ImportOrder
from worker.engine.adapters.saving import IN_FILE, save_files
from worker.imports import archive
from worker.imports.card import import_card
from worker.imports.factors import ImportedLora, check_fit
from worker.imports.layers import Layers
from worker.imports.loralib import LoralibOptions, read_loralib
from worker.imports.peft_folder import WANTED, read_peft_folder
from worker.imports.refusal import refusal
from worker.imports.tensors import Tensors, read_pickle, read_safetensors
from worker.process.faults import disk_fault
from worker.save.folder import write_manifest, write_tokenizer

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
    config = _config(lora, layers)
    folder = work / "adapter"
    save_files(config, _tensors(lora), entry, folder)
    write_tokenizer(AutoTokenizer.from_pretrained(base, trust_remote_code=False), folder)
    options = _options(config, lora)
    (folder / "README.md").write_text(import_card(entry, order, format_, options), "utf-8")
    facts = {
        "base_revision": entry.revision,
        "type": "lora",
        "target_modules": options["target_modules"],
        "layers": len(lora.factors),
        "parameters": sum(tensor.numel() for tensor in _tensors(lora).values()),
    }
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
) -> tuple[Format, ImportedLora]:
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


def _tensors(lora: ImportedLora) -> Tensors:
    """Return the tensors under PEFT's names."""
    found = {}
    for module, factors in lora.factors.items():
        found[f"{IN_FILE}{module}.lora_A.weight"] = factors.A_RK
        found[f"{IN_FILE}{module}.lora_B.weight"] = factors.B_NR
        if factors.magnitude_N is not None:
            found[f"{IN_FILE}{module}.lora_magnitude_vector"] = factors.magnitude_N
    return found


def _config(lora: ImportedLora, layers: Layers) -> LoraConfig:
    """Return a configuration of our own making, with the commonest rank and alpha as those of all layers."""
    ranks = {module: factors.rank for module, factors in lora.factors.items()}
    alphas = {module: _whole(factors.alpha) for module, factors in lora.factors.items()}
    r, alpha = (_commonest(list(values.values())) for values in (ranks, alphas))
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=r,
        lora_alpha=alpha,
        lora_dropout=lora.lora_dropout,
        use_rslora=lora.use_rslora,
        use_dora=any(factors.magnitude_N is not None for factors in lora.factors.values()),
        fan_in_fan_out=layers.by_name[next(iter(lora.factors))].fan_in_fan_out,
        target_modules=_targets(lora.factors, layers),
        rank_pattern={module: rank for module, rank in ranks.items() if rank != r},
        alpha_pattern={module: own for module, own in alphas.items() if own != alpha},
        bias="none",
    )


def _options(config: LoraConfig, lora: ImportedLora) -> dict[str, Any]:
    """Return the method and its options in the form of a job's specification."""
    return {
        "type": "lora",
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": sorted(config.target_modules or ()),
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "rank_pattern": config.rank_pattern,
        "alpha_pattern": config.alpha_pattern,
        "init_lora_weights": True,
    }


def _targets(adapted: Mapping[str, Any], layers: Layers) -> list[str]:
    """Return the last parts of the layers' names if these name the adapted layers alone, else whole names."""
    leaves = {name.rpartition(".")[2] for name in adapted}
    meant = {name for name in layers.by_name if name.rpartition(".")[2] in leaves}
    return sorted(leaves if meant == set(adapted) else adapted)


def _commonest(values: list[Any]) -> Any:
    return max(sorted(set(values), reverse=True), key=values.count)


def _whole(number: float) -> int | float:
    return int(number) if float(number).is_integer() else float(number)
