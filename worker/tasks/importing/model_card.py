"""Writes the README.md of an imported adapter: what it is, where it comes from, and how to load it."""

from collections.abc import Mapping
from typing import Any

from core.catalog import BaseModelEntry
from core.imports import Format, ImportRequest
from core.portability.rules import reports_by_rule
from worker.adapter_files.loading_code import loading_code
from worker.adapter_files.portability_section import section_by_rule

CARD = """---
library_name: peft
base_model: {repository}
base_model_relation: adapter
tags: [lora, tunery]
---

# {filename}

A LoRA adapter for [{repository}](https://huggingface.co/{repository}), imported into Tunery.

{loading}
| | |
| --- | --- |
| imported from | {form} |
| SHA-256 of that file | {sha256} |
| rank, alpha | {r}, {lora_alpha} |
| target modules | {targets} |

`manifest.json` lists every file with its SHA-256, and the hash of the base model.
{portability}"""
FORMS = {"peft": "a zip of PEFT's files", "loralib": "a checkpoint of Microsoft's loralib"}


def import_card(
    entry: BaseModelEntry, request: ImportRequest, format_: Format, options: Mapping[str, Any]
) -> str:
    """Return the text of README.md."""
    reports = reports_by_rule(options, entry.repository, entry.revision)
    return CARD.format(
        repository=entry.repository,
        revision=entry.revision,
        filename=request.filename,
        form=FORMS[format_],
        sha256=request.sha256,
        r=options["r"],
        lora_alpha=options["lora_alpha"],
        targets=", ".join(options["target_modules"]),
        loading=loading_code(reports, generates=True),
        portability=section_by_rule(reports),
    )
