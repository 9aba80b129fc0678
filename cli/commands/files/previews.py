"""`tunery files preview`: which tokens of a row are learnt under a base model."""

from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to, without_none
from cli.client.connection import connected
from cli.commands.sending import TO_BE_LOOKED_AT, file_id, only_model

OPENS, CLOSES = "⟦", "⟧"
LEFT_OUT = "nothing is left to learn, or it is a prompt that is too long"


@connected
def preview_rows(
    client: Client,
    json: bool,
    file: Annotated[
        str, typer.Argument(help="The id of an uploaded file, or a local file, which is uploaded first")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="The base model whose template renders the rows",
            metavar="NAME",
            show_default="the only one on offer",
        ),
    ] = None,
    line: Annotated[
        list[int] | None,
        typer.Option(help="The line of a row; give it again for more rows. 1 by default", min=1),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="The tokens after which training cuts a row", min=1)
    ] = None,
) -> None:
    """Show rows as training sees them. What the model learns to write stands between ⟦ and ⟧.

    A weight other than 1 follows the ⟧. Facts about the rows go to stderr.
    """
    asked = without_none(model=model or only_model(client), lines=line or [1], max_length=max_length)
    preview = preview_of(client, file_id(client, file, TO_BE_LOOKED_AT), asked)
    output.json(preview) if json else show(preview)


def preview_of(client: Client, file: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return rows of an uploaded file as the model that is `asked` for sees them."""
    preview: dict[str, Any] = client.post(path_to("/files", file, "preview"), asked)
    return preview


def show(preview: dict[str, Any]) -> None:
    """Print rows as a model sees them."""
    for row in preview["rows"]:
        _show(row, preview["numbered_by"])


def _show(row: dict[str, Any], word: str) -> None:
    if row["error"] is not None:
        output.note(f"{word} {row['line']}: {row['error']['message']}")
        return
    left_out = "" if row["is_learnt"] else f". Training leaves the row out: {LEFT_OUT}"
    for number, conversation in enumerate(row["conversations"]):
        answer = f", answer {number + 1}" if len(row["conversations"]) > 1 else ""
        wanted = "" if conversation["desirable"] else " (to make less likely)"
        cut = f", {conversation['cut_tokens']:,} more are cut" if conversation["cut_tokens"] else ""
        counts = f"{conversation['tokens']:,} tokens, {conversation['learnt_tokens']:,} learnt{cut}"
        output.note(f"{word} {row['line']}{answer}{wanted}: {counts}{left_out}", style="bold")
        for text in "".join(map(_marked, conversation["segments"])).splitlines():
            output.data(text)


def _marked(segment: dict[str, Any]) -> str:
    if not segment["learnt"]:
        return str(segment["text"])
    weight = "" if segment["weight"] == 1 else f"×{segment['weight']:g}"
    return f"{OPENS}{segment['text']}{CLOSES}{weight}"
