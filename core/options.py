"""The base class of all options that a client may set, and types of such options."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
# A part of the fine-tuned model's name. Colons separate the parts of the name, so it has none.
Suffix = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]

# 2**32 lies in 2106. A database knows no dates of far higher numbers.
Moment = Annotated[int, Field(ge=0, le=2**32, description="Unix seconds")]

SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
SecretName = Annotated[str, StringConstraints(pattern=f"^{SECRET_NAME.pattern}$")]

MAX_DEVICES = 64
"""The most devices that a job or a worker may have."""

UNSUPPORTED = "x-unsupported"
OTHER_NAMES = "x-other-names"
"""A body's schema has under this key hints for names of other programs: for each parameter, by the name."""


def unsupported(instead: str) -> Any:
    """Return the field of a parameter that may only be null; whoever sets it learns what to do instead."""
    return Field(None, description=instead, json_schema_extra={UNSUPPORTED: instead})


class Options(BaseModel):
    """Options that refuse unknown fields and convert nothing, since a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
