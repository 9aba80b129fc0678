"""The methods by which adapters are composed, in PEFT's words. The command line reads them too."""

from typing import Literal

Method = Literal[
    "linear",
    "cat",
    "svd",
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_ties",
    "dare_linear_svd",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
]
SignMethod = Literal["total", "frequency"]
Criterion = Literal["loss", "token_accuracy", "exact_match"]


def prunes(method: Method) -> bool:
    """Return whether the method drops values, so that it has a density."""
    return method.startswith(("ties", "dare", "magnitude_prune"))


def elects_signs(method: Method) -> bool:
    return "ties" in method


def decomposes(method: Method) -> bool:
    """Return whether the method decomposes updates of weights, so that it chooses the rank of the result."""
    return method.endswith("svd")


def needs_one_rank(method: Method) -> bool:
    return method != "cat" and not decomposes(method)
