"""The reasons that a destination gives, as a task's error shows them."""

MAX_REASON = 300  # characters


def shortened(reason: str) -> str:
    """Return the beginning of a reason, because a foreign server may write as much as it likes."""
    return reason[:MAX_REASON]
