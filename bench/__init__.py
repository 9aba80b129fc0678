"""Measurements of Tunery, of its API and dashboard, and of other trainers on the same rows and machine.

Each module directly in this folder is a command, `python -m bench.NAME`, with a process of its own. The
subfolders hold the parts that the commands share.
"""

from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
