"""`tunery files check`: what is wrong with the rows of a file."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected
from cli.client.tasks import require_success, wait_for_task
from cli.commands.sending import file_id

COUNTS = ("severity", "code", "count", "first_lines", "message", "mend")
FIRST_LINES = 5
PURPOSE = "user_data"  # of a file that is uploaded for the check alone: the upload refuses no row of it


@connected
def check_file(
    client: Client,
    json: bool,
    file: Annotated[
        str, typer.Argument(help="The id of an uploaded file, or a local file, which is uploaded first")
    ],
    validation: Annotated[
        str | None, typer.Option(help="The validation file, whose rows must not occur here", metavar="FILE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A base model, to learn which rows it cuts", metavar="NAME")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="The tokens after which training cuts a row", min=1)
    ] = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="Make a copy without repeated, leaked and empty rows")
    ] = False,
) -> None:
    """Check a file for repeated, leaked, contradictory and cut rows, for secrets, and more.

    The server checks it. If you stop this command, the check goes on.
    """
    checked = file_id(client, file, PURPOSE)
    other = file_id(client, validation, PURPOSE) if validation else None
    asked = {"validation_file": other, "model": model, "max_length": max_length, "mend": mend}
    path = f"/files/{quote(checked, safe='')}"
    check = client.post(f"{path}/check", {name: value for name, value in asked.items() if value is not None})
    check = wait_for_task(client, f"{path}/checks/{check['id']}")
    require_success(check, "check")
    output.json(check) if json else _show(check)


def _show(check: dict[str, Any]) -> None:
    report = check["report"]
    output.table([_row(report, counted) for counted in report["counts"]], COUNTS)
    lengths = report["lengths"]
    about = f", about {lengths['total']:,} tokens, the longest row {lengths['longest']:,}" if lengths else ""
    output.note(f"{report['rows']:,} rows of kind {report['kind']}{about} (estimated).")
    if report["not_mended"]:
        output.note(f"No mended copy: {report['not_mended']}.")
    if check["mended_file"]:
        output.note(f"The mended copy, without {report['mendable_rows']:,} rows: {check['mended_file']}")


def _row(report: dict[str, Any], counted: dict[str, Any]) -> dict[str, Any]:
    found = [each for each in report["findings"] if each["code"] == counted["code"]]
    lines = [str(each["line"]) for each in found[:FIRST_LINES] if each["line"] is not None]
    more = "…" if counted["count"] > len(lines) > 0 else ""
    return counted | {
        "first_lines": ", ".join(lines) + more,
        "message": found[0]["message"],
        "mend": found[0]["mend"],
    }
