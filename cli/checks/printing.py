"""Prints checks for people: a sign, what was found, and below it what to do."""

from collections.abc import Sequence

from cli.client import output
from core.offering.checks import Check

SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def print_checks(checks: Sequence[Check]) -> None:
    """Print a line for each check on stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(check.name) for check in checks)
    for check in checks:
        sign, colour = SIGNS[check.state]
        found = output.printable(check.found)
        console.print(Text.assemble((sign, colour), f" {check.name:<{width}}  {found}"))
        if check.advice:
            console.print(Text(f"  {'':<{width}}  → {check.advice}", style="dim"))
