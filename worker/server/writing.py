"""Writes answers as JSON: dicts, with schemas of pydantic and with JSON that is written already (`Raw`)."""

from typing import Any

import msgspec
from pydantic import BaseModel


def _fields(part: Any) -> dict[str, Any]:
    """Return a part of an answer as msgspec writes it: without the fields that were never set."""
    assert isinstance(part, BaseModel)
    return part.model_dump(exclude_unset=True)


written = msgspec.json.Encoder(enc_hook=_fields).encode
