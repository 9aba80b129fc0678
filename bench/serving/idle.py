"""The share of one core that a process takes: what a `tunery serve` that nobody asks takes from a training.

    python -m bench.serving.idle PID --seconds 60

A training beside it can lose no more than this share of one core, apart from what the two push out of each
other's caches. The figure is the processor's own count, so it is right beside other programs too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path


def cpu_seconds(process: int) -> float:
    """Return the processor's seconds that all threads of a process have taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("process", type=int, metavar="PID")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    begun, before = time.perf_counter(), cpu_seconds(given.process)
    time.sleep(given.seconds)
    share = (cpu_seconds(given.process) - before) / (time.perf_counter() - begun)
    print(json.dumps({"share_of_one_core": share, "share_of_the_machine": share / (os.cpu_count() or 1)}))


if __name__ == "__main__":
    main()
