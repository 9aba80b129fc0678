"""Says how much of something each project has a right to while several want it."""


def is_within_share(own: int, projects: int, whole: int) -> bool:
    """Return whether `own` of `whole` is at most the equal share of one of so many projects."""
    return own * projects <= whole
