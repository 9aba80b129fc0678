"""The arguments of the commands about adapters."""

from pathlib import Path
from typing import Annotated

import typer

AdapterId = Annotated[str, typer.Argument(metavar="ID", help="An id from `tunery adapters list`")]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder; it is made if it does not exist", file_okay=False)
]
