"""The findings of a check: of a machine, a service or a base model."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One finding. `advice` says what to do; it is empty if nothing is wrong."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
