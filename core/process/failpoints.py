"""Named places at which tests make a process die. In production, nothing happens there.

No setting and no variable arms a place. Only code that calls `on_reaching` does, and only tests have such
code.
"""

from collections.abc import Callable

_told: list[Callable[[str], None]] = []


def reached(place: str) -> None:
    """Say that the process has come to this place. Each place has a name of its own: WHAT.DONE."""
    for tell in _told:
        tell(place)


def on_reaching(tell: Callable[[str], None]) -> None:
    """Call `tell` with the name of each place that this process comes to from now on."""
    _told.append(tell)
