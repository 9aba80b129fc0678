"""The roles of API keys, which say what a key may do."""

from enum import StrEnum


class Role(StrEnum):
    """A key's role. Each role may do everything that the roles before it may do.

    In this order: read; write files and jobs; manage keys, secrets and webhooks.
    """

    READ_ONLY = "read-only"
    MEMBER = "member"
    ADMIN = "admin"

    def includes(self, needed: "Role") -> bool:
        """Whether this role may do everything that `needed` may do."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)
