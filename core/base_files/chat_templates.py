"""The chat templates in a folder of a base model, read without loading a tokenizer."""

import json
from pathlib import Path
from typing import Any

CONFIG, JINJA, NAMED = "tokenizer_config.json", "chat_template.jinja", "additional_chat_templates"
MOST_BYTES = 16 * 1024**2


def is_of_a_template(file: str) -> bool:
    """Return whether a file of a published model, such as a/b.jinja, may hold a chat template."""
    return file in (CONFIG, JINJA) or (file.startswith(f"{NAMED}/") and file.endswith(".jinja"))


def templates_in(folder: Path) -> dict[str, str]:
    """Return the templates in a folder by their names. Most models have one, "default".

    Raises OSError and ValueError for files that cannot be read.
    """
    config = folder / CONFIG
    found = _configured(_object_in(config).get("chat_template")) if config.exists() else {}
    if (folder / JINJA).exists():
        found["default"] = _text_in(folder / JINJA)
    for path in sorted((folder / NAMED).glob("*.jinja")):
        found[path.stem] = _text_in(path)
    return found


def _configured(found: Any) -> dict[str, str]:
    if isinstance(found, list):
        return {
            str(each["name"]): str(each["template"])
            for each in found
            if isinstance(each, dict) and each.keys() >= {"name", "template"}
        }
    return {"default": found} if isinstance(found, str) and found else {}


def _object_in(path: Path) -> dict[str, Any]:
    found = json.loads(_text_in(path))
    return found if isinstance(found, dict) else {}


def _text_in(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MOST_BYTES)
