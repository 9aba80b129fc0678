"""Named points at which tests make a process die. In production, nothing happens there.

No setting and no variable arms a point. Only code that calls `on_reaching` does, and only tests have such
code.
"""

from collections.abc import Callable

_told: list[Callable[[str], None]] = []


def reached(point: str) -> None:
    """Say that the process has come to this point. Each point has a name of its own: WHAT.DONE."""
    for tell in _told:
        tell(point)


def on_reaching(tell: Callable[[str], None]) -> None:
    """Call `tell` with the name of each point that this process comes to from now on."""
    _told.append(tell)
