"""What `tunery doctor` looks at, one file for the machine and one for the service."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One finding. `advice` says what to do; empty where all is well."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
