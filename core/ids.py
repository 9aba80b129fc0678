"""Identifiers: OpenAI's prefix and a UUIDv7, so that ids of one kind sort by time."""

import re

from uuid_utils import uuid7


def kind(prefix: str) -> re.Pattern[str]:
    """What `new_id(prefix)` looks like."""
    return re.compile(re.escape(prefix) + "[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """For example `new_id("ftjob-")`; the part after the prefix is 32 hexadecimal digits."""
    return f"{prefix}{uuid7().hex}"
