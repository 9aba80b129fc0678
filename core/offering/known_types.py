"""The types of models of transformers that write text. The API knows them without importing transformers.

They stand in two files beside this one, whose first lines name the release of transformers that has them.
"""

from functools import cache
from pathlib import Path

CAUSAL = Path(__file__).with_name("causal_types.txt")
WRAPPERS = Path(__file__).with_name("wrapper_types.txt")
"""Types of models that also process images or sound, around a text model, and that are no causal types too"""


@cache
def listed_types(file: Path) -> frozenset[str]:
    """Return the types of a file, as `model_type` of a config.json names them."""
    return frozenset(file.read_text("utf-8").partition("\n")[2].split())


def is_listed_type(model_type: str) -> bool:
    """Tell whether transformers has the type."""
    return model_type in listed_types(CAUSAL) | listed_types(WRAPPERS)
