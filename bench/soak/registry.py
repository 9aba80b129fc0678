"""All faults by family and name. A file of `families` adds its own with the decorator `fault`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bench.soak.plan import Dice
from bench.soak.service import Service

Strike = Callable[[Service, Dice], None]


@dataclass(frozen=True)
class Fault:
    """One way to break the service. `strike` breaks it for a while, and mends it before it returns.

    Two faults that touch the same family never strike at once. `ends_processes` says that a process of the
    service ends: its memory cannot be judged over time.
    """

    family: str
    name: str
    touches: frozenset[str]
    ends_processes: bool
    strike: Strike


FAULTS: list[Fault] = []


def fault(
    family: str, name: str, *, touches: Collection[str] = (), ends_processes: bool = False
) -> Callable[[Strike], Strike]:
    """Register the function as a fault. It touches its family, and the other families in `touches`."""

    def add(strike: Strike) -> Strike:
        FAULTS.append(Fault(family, name, frozenset({family, *touches}), ends_processes, strike))
        return strike

    return add
