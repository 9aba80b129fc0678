"""Changes the operator's catalog file, and keeps what else stands in it, such as comments."""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.catalog import SMOLLM2, BaseModelEntry, read_entries
from core.errors import ConfigurationError, Conflict, NotFound

BEGINNING = """# The base models on offer. `tunery models add` and `remove` change this file, and so may you.
# The API, workers and servers read it again when it changes.
"""
BLOCK = re.compile(r"^(?:[ \t]*#.*\n)*[ \t]*\[\[[ \t]*model[ \t]*\]\]", re.MULTILINE)
"""The begin of an entry, with the comment lines right above it."""


def add_entry(file: Path, entry: BaseModelEntry) -> None:
    """Append an entry. A file that does not exist yet begins with the model that was on offer without it.

    Raises Conflict if the file has an entry with this id, and ConfigurationError if the file is wrong or
    cannot be written.
    """
    with _alone_at(file):
        if file.exists():
            entries, text = read_entries(file), file.read_text("utf-8").rstrip("\n") + "\n"
        else:
            entries, text = [SMOLLM2], f"{BEGINNING}\n{as_toml(SMOLLM2)}"
        if any(present.id == entry.id for present in entries):
            raise Conflict(
                f"The catalog has a model {entry.id!r} already. Choose another id",
                code="model_already_offered",
                param="id",
            )
        _write(file, f"{text}\n{as_toml(entry)}", [*entries, entry])


def remove_entry(file: Path, model_id: str) -> None:
    """Remove an entry. Raises NotFound if it is not there, and Conflict if it is the last one.

    Raises ConfigurationError if the file is wrong or cannot be written.
    """
    with _alone_at(file):
        entries = read_entries(file) if file.exists() else [SMOLLM2]
        if all(entry.id != model_id for entry in entries):
            names = ", ".join(entry.id for entry in entries)
            raise NotFound(
                f"The catalog has no model {model_id!r}. It has: {names}",
                code="model_not_found",
                param="model",
            )
        if len(entries) == 1:
            raise Conflict(f"{model_id} is the only model on offer; add another one first", code="last_model")
        text = _without(file.read_text("utf-8"), [entry.id for entry in entries], model_id)
        _write(file, text, [entry for entry in entries if entry.id != model_id])


def _without(text: str, ids: list[str], model_id: str) -> str:
    """Return the text without the block of a model, or as it is if its models are written in another way."""
    starts = [found.start() for found in BLOCK.finditer(text)]
    if len(starts) != len(ids):
        return text
    ends = [*starts[1:], len(text)]
    number = ids.index(model_id)
    return text[: starts[number]] + text[ends[number] :]


@contextmanager
def _alone_at(file: Path) -> Iterator[None]:
    """Let one change of the file happen at a time: the next one reads what the last one has written.

    Raises ConfigurationError if the file or its folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written ({error.strerror or error}). Give this process the right to write in "
            "its folder, name another file with TUNERY_CATALOG_FILE, or change the file by hand where it can "
            "be written"
        ) from error


def as_toml(entry: BaseModelEntry) -> str:
    """Return the entry as it stands in the file, with the fields that differ from their defaults."""
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    return "[[model]]\n" + "".join(f"{name} = {_value(name, value)}\n" for name, value in fields.items())


def _value(name: str, value: Any) -> str:
    if name == "shutdown_date":
        return str(value)  # TOML's dates have no quotation marks
    return json.dumps(value, ensure_ascii=False)  # what TOML takes too: texts, numbers, true and false


def _write(file: Path, text: str, entries: list[BaseModelEntry]) -> None:
    """Replace the file in one step, so that nobody reads half of it.

    Raises ConfigurationError if the text does not say what the entries are. Then the file stays as it was.
    """
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(text, "utf-8")
    if not _says(draft, entries):
        draft.unlink()
        raise ConfigurationError(
            f"{file} cannot be changed by a program, since it does not begin each model with a line "
            "[[model]]. Change it with an editor"
        )
    draft.replace(file)


def _says(file: Path, entries: list[BaseModelEntry]) -> bool:
    try:
        return read_entries(file) == entries
    except ConfigurationError:
        return False
