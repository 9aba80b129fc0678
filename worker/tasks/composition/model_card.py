"""Writes the README.md of a composed adapter: what it is, what it was made of, and how to load it."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.catalog import BaseModelEntry
from core.compositions.requests import ComposeRequest
from core.jobs.ancestor import Ancestor
from core.portability.rules import reports_by_rule
from worker.adapter_files.loading_code import loading_code
from worker.adapter_files.portability_section import section_by_rule

CARD = """---
library_name: peft
base_model: {repository}
base_model_relation: adapter
license: {license}
tags: [lora, merge, tunery]
---

# {name}

A LoRA adapter for [{repository}](https://huggingface.co/{repository}), which Tunery has composed of
{count} adapters.

{loading}
| part | weight | SHA-256 |
| --- | --- | --- |
{parts}
| | |
| --- | --- |
| method | {method} |
| rank, alpha | {r}, {lora_alpha} |
| target modules | {targets} |

`manifest.json` lists every file with its SHA-256, and the hash of the base model.
{portability}"""


def composition_card(
    entry: BaseModelEntry, asked: ComposeRequest, parents: Sequence[Ancestor], options: Mapping[str, Any]
) -> str:
    """Return the text of README.md."""
    reports = reports_by_rule(options, entry.repository, entry.revision)
    return CARD.format(
        repository=entry.repository,
        license=entry.license.lower(),
        name=asked.suffix or f"{entry.id} composition",
        count=len(parents),
        parts="".join(f"| {each.model} | {each.weight:g} | {each.sha256} |\n" for each in parents),
        method=", ".join(_method(asked)),
        r=options["r"],
        lora_alpha=options["lora_alpha"],
        targets=", ".join(options["target_modules"]),
        loading=loading_code(reports, generates=True),
        portability=section_by_rule(reports),
    )


def _method(asked: ComposeRequest) -> Sequence[str]:
    names = ("density", "majority_sign_method", "svd_rank", "svd_clamp")
    given = [f"{name} {getattr(asked, name)}" for name in names if getattr(asked, name) is not None]
    return [asked.method, *given, f"seed {asked.seed}"]
