"""Looks at a base model, and makes the catalog's entry for it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.catalog import BaseModelEntry
from core.errors import InvalidRequest
from core.estimates.job.devices import Machine
from core.offering.checks import Check
from core.offering.fits import Fit, fits_of
from core.offering.judgement import judged, longest_row
from core.offering.published import Published, in_folder, on_hub

UNKNOWN = "unknown"  # the licence of a model that declares none
MOST_TOKENS = 8192  # of a row, unless the operator names another number


@dataclass(frozen=True)
class Offer:
    """A base model as it would stand in the catalog, with what was found out about it."""

    entry: BaseModelEntry
    checks: list[Check]
    fits: list[Fit]

    @property
    def broken(self) -> list[str]:
        """The names of the checks that failed. If there is one, no job can train the model."""
        return [check.name for check in self.checks if check.state == "fail"]


def look_at(
    source: str, revision: str, chosen: dict[str, Any], here: Iterable[Machine], *, folders: bool = False
) -> Offer:
    """Look at a model of the hub, or with `folders` also at one in a folder of this machine.

    `chosen` are fields of the entry; None means not given. `here` are the machines that are there to train.
    Raises InvalidRequest, which names the field that is wrong, and Unavailable if the hub does not answer.
    """
    folder = Path(source).resolve() if folders and Path(source).is_dir() else None
    model = _licensed(in_folder(folder) if folder else on_hub(source, revision), chosen.get("license"))
    entry = _entry(source, folder, _fields(model, chosen))
    return Offer(entry, list(judged(model, entry.max_length)), fits_of(model.config, entry, here))


def look_again(entry: BaseModelEntry, here: Iterable[Machine]) -> Offer:
    """Look at a model of the catalog, at the hub or in its folder. Raises as `look_at` does."""
    assert entry.source != "wheel"
    found = in_folder(entry.path) if entry.path else on_hub(entry.repository, entry.revision)
    model = _licensed(found, entry.license if entry.license != UNKNOWN else None)
    return Offer(entry, list(judged(model, entry.max_length)), fits_of(model.config, entry, here))


def _licensed(model: Published, license: str | None) -> Published:
    """Return the model with the licence that the operator has named, if one is named."""
    return model if license is None else replace(model, license=license)


def _fields(model: Published, chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _id_of(model.name),
        "revision": model.revision,
        "license": (model.license or UNKNOWN)[:100],
        "max_length": min(longest_row(model) or MOST_TOKENS, MOST_TOKENS),
        **{name: value for name, value in chosen.items() if value is not None},
    }


def _id_of(name: str) -> str:
    """Return the last part of a name in lower case, with the letters that an id may have."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.rpartition("/")[2].lower()).strip("-._")


def _entry(source: str, folder: Path | None, fields: dict[str, Any]) -> BaseModelEntry:
    location: dict[str, Any] = {"source": "hub", "repository": source}
    if folder is not None:
        location = {"source": "folder", "repository": f"local/{folder.name}", "path": folder}
    try:
        return BaseModelEntry.model_validate({**location, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise InvalidRequest(f"{name}: {first['msg']}", code="invalid_value", param=name) from error
