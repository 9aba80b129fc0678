"""The files that every adapter's folder has beside the weights: the tokenizer and the manifest."""

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.storage.file_names import MANIFEST
from core.storage.folders import FolderFile

CARD = "README.md"
LIBRARIES = ("torch", "transformers", "peft", "safetensors")


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files, with its chat template."""
    # The tokenizer would put several templates into a subfolder, which an adapter must not have. So they all
    # go into one file
    several = isinstance(tokenizer.chat_template, dict)
    tokenizer.save_pretrained(folder, save_jinja_files=not several)
    # This file names tokens of the base model, which some runtimes take for new tokens
    (folder / "added_tokens.json").unlink(missing_ok=True)


def copy_processor(base: Path, folder: Path) -> None:
    """Copy how a base model of texts and images reads images. Without it, no runtime loads a whole model."""
    for file in base.glob("*processor_config.json"):
        shutil.copyfile(file, folder / file.name)


def write_manifest(folder: Path, facts: Mapping[str, Any], quantised: bool) -> None:
    """Write manifest.json: the facts, the versions of libraries, and every file with its SHA-256.

    Write it last.
    """
    files = [asdict(FolderFile.of(path)) for path in sorted(folder.iterdir())]
    manifest = {**facts, "versions": library_versions(quantised), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def library_versions(quantised: bool) -> dict[str, str]:
    """Return the versions of Python and of the libraries that the result depends on."""
    names = (*LIBRARIES, "bitsandbytes") if quantised else LIBRARIES
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
