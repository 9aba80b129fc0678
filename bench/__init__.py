"""Measurements of Tunery beside other trainers, on the same rows and the same machine.

The modules of this folder are the commands, `python -m bench.NAME`; the rooms hold what they share.
"""

from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
