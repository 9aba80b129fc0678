"""Identifiers: OpenAI's prefix and a UUIDv7, so that ids of one kind sort by time."""

from uuid_utils import uuid7


def new_id(prefix: str) -> str:
    """For example `new_id("ftjob-")`; the part after the prefix is 32 hexadecimal digits."""
    return f"{prefix}{uuid7().hex}"
