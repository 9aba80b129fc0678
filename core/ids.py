"""Identifiers: OpenAI's prefix and a UUIDv7, so that the ids of one kind sort by time."""

import re
from datetime import datetime

from uuid_utils import uuid7


def id_pattern(prefix: str) -> re.Pattern[str]:
    """Return the pattern of the ids that `new_id(prefix)` makes."""
    return re.compile(re.escape(prefix) + "[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """Return a new id, for example `new_id("ftjob-")`. After the prefix it has 32 hexadecimal digits."""
    return f"{prefix}{uuid7().hex}"


def first_id_at(prefix: str, moment: datetime) -> str:
    """Return a text that sorts after the ids that were made before `moment`, and before all later ids.

    A UUIDv7 begins with its time in milliseconds, in 12 hexadecimal digits.
    """
    return f"{prefix}{int(moment.timestamp() * 1000):012x}"
