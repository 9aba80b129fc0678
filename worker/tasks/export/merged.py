"""Writes the merged model as safetensors, which transformers, vLLM, SGLang and others load."""

from pathlib import Path
from typing import Any

from core.exports.requests import MergedExport
from worker.adapter_files.folder import copy_processor
from worker.tasks.export.lora import DTYPES
from worker.tasks.export.merging import (
    agreement,
    distributions,
    load_merged,
    load_with_adapter,
    merge,
    round_weights,
)
from worker.tasks.export.source import Model, Source


def write_merged(source: Source, asked: MergedExport, folder: Path) -> dict[str, Any]:
    """Write the model, with the base's processor of images if it has one.

    The report says how merging and rounding change its answers.
    """
    dtype = DTYPES[asked.precision]
    model, report = measured_merge(source, lambda merged: round_weights(merged, dtype))
    model.to(dtype).save_pretrained(folder)
    copy_processor(source.base_folder, folder)
    return report


def measured_merge(source: Source, rounding: Any) -> tuple[Model, dict[str, Any]]:
    """Merge, then call `rounding` on the model. Both are compared with base plus adapter, in fp32."""
    if source.is_whole_model:
        model = load_merged(source)
        expected = distributions(model, source)
        rounding(model)
        return model, {"after_rounding": agreement(expected, distributions(model, source)).shown()}
    beside = load_with_adapter(source)
    expected = distributions(beside, source)
    model = merge(source, beside)
    merged = agreement(expected, distributions(model, source)).shown()
    rounding(model)
    rounded = agreement(expected, distributions(model, source)).shown()
    return model, {"after_merging": merged, "after_rounding": rounded}
