"""What a key may do."""

from enum import StrEnum


class Role(StrEnum):
    """Each may do what those before it may: read, write files and jobs, manage keys, secrets and webhooks."""

    READ_ONLY = "read-only"
    MEMBER = "member"
    ADMIN = "admin"

    def includes(self, needed: "Role") -> bool:
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)
