"""The types of causal models that transformers has. The API knows them without importing transformers.

They stand in a file beside this one. Its first line names the release of transformers that has them.
"""

from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("causal_types.txt")


@cache
def causal_types() -> frozenset[str]:
    """Return the types, as `model_type` of a config.json names them."""
    return frozenset(FILE.read_text("utf-8").partition("\n")[2].split())
