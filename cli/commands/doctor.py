"""`tunery doctor`: checks whether this machine can run the service and whether the service runs."""

from typing import TYPE_CHECKING

from cli.client import output
from cli.client.client import ApiKey, BaseUrl
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from cli.checks import Check

SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def doctor(
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Check the machine, the libraries, the servers and your key; say how to repair what is wrong."""
    from dataclasses import asdict

    from cli.checks import machine, service

    checks = [*machine.checks(home), *service.checks(home, base_url, api_key)]
    broken = [check.name for check in checks if check.state == "fail"]
    if json:
        output.json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    if broken:
        raise GaveUp(f"Broken: {', '.join(broken)}")


def _print(checks: "list[Check]") -> None:
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
