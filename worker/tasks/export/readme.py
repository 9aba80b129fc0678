"""Writes the README.md of an export: what it is, and how each runtime starts with it."""

from collections.abc import Mapping
from typing import Any

from core.exports.requests import ExportRequest
from core.portability.report import NAMES, Form, Runtime
from core.portability.start_lines import blocks, start_line
from worker.tasks.export.source import Source

HEAD = """# {model}

The adapter `{adapter_id}` of [{repository}](https://huggingface.co/{repository}) in the format `{format}`,
made by Tunery. `manifest.json` lists the files with their SHA-256, and what was measured.

"""

# The runtimes that load each format, in the order of the README
RUNTIMES: dict[Form, tuple[Runtime, ...]] = {
    "lora": ("peft", "vllm", "sglang", "lorax"),
    "mlx": ("mlx",),
    "gguf_adapter": ("llama_cpp",),
    "merged": ("peft", "vllm", "sglang", "lorax", "mlx"),
    "gguf": ("llama_cpp", "ollama"),
}


def readme(source: Source, asked: ExportRequest, report: Mapping[str, Any]) -> str:
    """Return the text."""
    repository, revision = source.entry.repository, source.entry.revision
    lines = [
        (
            _title(runtime, asked.format),
            start_line(
                runtime,
                asked.format,
                repository,
                revision,
                report.get("rank"),
                quantization=getattr(asked, "quantization", "f16"),
            ),
        )
        for runtime in RUNTIMES[asked.format]
    ]
    facts = {"model": source.model, "adapter_id": source.adapter_id, "repository": repository}
    return HEAD.format(**facts, format=asked.format) + blocks(lines)


def _title(runtime: Runtime, form: Form) -> str:
    if form == "gguf_adapter":
        return "llama.cpp, beside a GGUF file of the base model"
    return "transformers" if (runtime, form) == ("peft", "merged") else NAMES[runtime]
