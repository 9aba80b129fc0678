"""Checks what comes out of a sandbox, which may be anything."""

from math import isfinite

from core.graders.python.sandbox import MOST_DETAILS, GraderFailed


def finite(value: object) -> float:
    """Return a score as a float. Raises GraderFailed if it is no finite number, as True and None are."""
    if type(value) not in (int, float):
        raise wrong_type(type(value).__name__)
    try:
        score = float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise GraderFailed("it returned an integer that is too large") from None
    if not isfinite(score):
        raise GraderFailed(f"it returned {score}, which is not a finite number")
    return score


def wrong_type(name: str) -> GraderFailed:
    """Return the failure of code that returned a value of another type than a number's."""
    hint = ". Write `float(…)` around it" if name == "bool" else ""
    return GraderFailed(f"it returned a value of the type {shown(name)}, not a number{hint}")


def shown(text: str) -> str:
    """Return a text of a client's code as it may be stored and shown: short, on one line, and printable."""
    line = "".join(each if each.isprintable() else " " for each in text[:MOST_DETAILS])
    return line if len(text) <= MOST_DETAILS else f"{line[:-1]}…"
