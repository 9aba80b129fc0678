"""`tunery files check`: what is wrong with the rows of a file."""

from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to, without_none
from cli.client.connection import connected
from cli.client.tasks import carry_out
from cli.commands.sending import TO_BE_LOOKED_AT, file_id

# The last three are of the first finding
COUNTS = ("severity", "code", "count", "first_lines", "field", "message", "mend")
FIRST_LINES = 5


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
    leave_out: Annotated[
        list[int] | None,
        typer.Option(help="With --mend: a line that the copy has not", metavar="LINE", min=1),
    ] = None,
) -> None:
    """Check a file for repeated, leaked, contradictory and cut rows, for secrets, and more.

    The server checks it. If you stop this command, the check goes on.
    """
    checked = file_id(client, file, TO_BE_LOOKED_AT)
    other = file_id(client, validation, TO_BE_LOOKED_AT) if validation else None
    asked = without_none(
        validation_file=other, model=model, max_length=max_length, mend=mend, leave_out=leave_out or None
    )
    path = path_to("/files", checked)
    check = carry_out(client, f"{path}/check", asked, f"{path}/checks", "check")
    output.json(check) if json else _show(check)


def _show(check: dict[str, Any]) -> None:
    report = check["report"]
    if report["counts"]:
        output.table([_row(report, counted) for counted in report["counts"]], COUNTS)
    else:
        output.note("Nothing was found that could harm.")
    lengths = report["lengths"]
    found = f"found as {report['format']} in {report['container']}"
    tokens = _tokens(lengths) if lengths else ""
    output.note(f"{report['rows']:,} rows of kind {report['kind']}, {found}{tokens}.")
    if languages := report["languages"]:
        output.note(f"Languages of the answers: {_shares(languages)}.")
    if report["numbered_by"] == "row" and report["findings"]:
        output.note("The file's rows have no lines of their own: the numbers count its rows, from 1.")
    if report["not_mended"]:
        output.note(f"No mended copy: {report['not_mended']}.")
    if check["mended_file"]:
        output.note(f"The mended copy, without {report['mendable_rows']:,} rows: {check['mended_file']}")


def _tokens(lengths: dict[str, Any]) -> str:
    measured = lengths["measured_rows"]
    how = f"counted for {measured:,} rows" if measured else "estimated"
    return f", {lengths['total']:,} tokens ({how}), the longest row {lengths['longest']:,}"


def _shares(languages: list[dict[str, Any]]) -> str:
    total = sum(each["rows"] for each in languages)
    return ", ".join(f"{each['language']} {each['rows'] / total:.1%}" for each in languages)


def _row(report: dict[str, Any], counted: dict[str, Any]) -> dict[str, Any]:
    found = [each for each in report["findings"] if each["code"] == counted["code"]]
    known = list(dict.fromkeys(str(each["line"]) for each in found if each["line"] is not None))
    lines = known[:FIRST_LINES]
    more = "…" if len(known) > len(lines) or (counted["count"] > len(found) and lines) else ""
    return counted | {
        "first_lines": ", ".join(lines) + more,
        "field": found[0]["field"],
        "message": found[0]["message"],
        "mend": found[0]["mend"],
    }
