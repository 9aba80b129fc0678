"""Measurements of Tunery, of its API, and of other trainers on the same rows and machine.

A command is `python -m bench.NAME`, with a process of its own. The subfolders hold further commands, and the
parts that commands share. docs/how-to/benchmark.md describes those that most users want.
"""

from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
