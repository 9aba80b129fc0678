"""Says what is being done, with the time since the start."""

from __future__ import annotations

import time

from bench.training.running import say

BEGAN = time.monotonic()


def say_step(text: str) -> None:
    say(f"{time.monotonic() - BEGAN:7.0f} s  {text}")
