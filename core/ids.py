"""Identifiers: OpenAI's prefix and a UUIDv7, so that the ids of one kind sort by time."""

import re

from uuid_utils import uuid7


def id_pattern(prefix: str) -> re.Pattern[str]:
    """Return the pattern of the ids that `new_id(prefix)` makes."""
    return re.compile(re.escape(prefix) + "[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """Return a new id, for example `new_id("ftjob-")`. After the prefix it has 32 hexadecimal digits."""
    return f"{prefix}{uuid7().hex}"
