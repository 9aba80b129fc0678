"""The type of what hears how far the load of a base model has come."""

from collections.abc import Callable

Tell = Callable[[int, int], object]
"""Hears how many bytes have been read, and of how many."""


def untold(read: int, of: int) -> None:
    """Tell nobody."""
