"""`tunery adapters portability`: which runtimes load an adapter, and whether they answer alike."""

from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.client.tasks import require_success, wait_for_task
from cli.commands.adapters.arguments import AdapterId

COLUMNS = ("runtime", "status", "by", "needs", "equal", "reason")


@connected
def show_portability(
    client: Client,
    json: bool,
    adapter_id: AdapterId,
    measure: Annotated[
        bool, typer.Option("--measure", help="Have a worker measure it now, and wait for the result")
    ] = False,
) -> None:
    """Show which runtimes load an adapter, in which form, and whether they answer alike.

    Rules answer at once. If you stop this command while a worker measures, the measurement goes on.
    """
    path = path_to("/adapters", adapter_id, "portability")
    report = _measure(client, path) if measure else client.get(path)
    if json:
        output.json(report)
        return
    output.table(map(_row, report["runtimes"]), COLUMNS)
    if prompts := report["prompts"]:
        rows, general = prompts["from_validation_file"], prompts["from_general_list"]
        asked = f"{rows} of the validation file, {general} of a general list"
        output.note(f"Measured on {prompts['count']} prompts: {asked}.")
    else:
        output.note("Nothing has been measured yet: --measure does that.")


def _measure(client: Client, path: str) -> dict[str, Any]:
    """Start a measurement, and return the report at its end. Raises WorkFailed and WorkCancelled."""
    client.post(path, {})
    report = wait_for_task(client, path, member="measurement")
    require_success(report["measurement"], "measurement")
    return report


def _row(report: dict[str, Any]) -> dict[str, Any]:
    figures = report["figures"]
    version = f" {report['version']}" if report["version"] else ""
    return {
        "runtime": report["name"] + version,
        "status": report["status"],
        "by": "measured" if report["measured"] else "rule",
        "needs": report["needs"],
        "equal": f"{figures['greedy_equal']}/{figures['prompts']}" if figures else None,
        "reason": report["reason"],
    }
