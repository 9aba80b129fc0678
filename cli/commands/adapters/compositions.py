"""`tunery adapters compose`: make one adapter of several."""

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from cli.client import output
from cli.client.client import Client, without_none
from cli.client.connection import connected
from cli.client.request_settings import Seed, Suffix
from cli.client.tasks import carry_out
from cli.commands.sending import file_id
from core.compositions import methods

# A name may end in digits too, but in twelve of them
WEIGHTED = re.compile(r"(?P<adapter>.+):(?P<weight>[+-]?(\d{1,3}(\.\d*)?|\.\d+))")

if TYPE_CHECKING:
    Method = str
    Criterion = str
else:
    Method = StrEnum("Method", {name.upper(): name for name in get_args(methods.Method)})
    Criterion = StrEnum("Criterion", {name.upper(): name for name in get_args(methods.Criterion)})


@connected
def compose_adapters(
    client: Client,
    json: bool,
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER[:WEIGHT]...",
            help="Models, checkpoints, aliases or ids of adapters, each with a weight; without one it is 1",
        ),
    ],
    method: Annotated[Method, typer.Option(help="How PEFT combines them")] = Method("svd"),
    density: Annotated[
        float | None, typer.Option(help="The share that ties, dare and magnitude_prune keep")
    ] = None,
    majority_sign_method: Annotated[
        str | None, typer.Option(help="total or frequency; for ties", metavar="NAME")
    ] = None,
    svd_rank: Annotated[int | None, typer.Option(help="The rank of the result, by svd")] = None,
    svd_clamp: Annotated[float | None, typer.Option(help="The quantile at which svd clamps values")] = None,
    suffix: Suffix = None,
    seed: Seed = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="A file with chat rows, or its id; several for several tasks. The weights that are "
            "best on their rows are searched for, beginning with the given ones",
            metavar="FILE",
        ),
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Rows of each file that the search uses")] = None,
    trials: Annotated[int | None, typer.Option(help="Sets of weights that the search tries")] = None,
    criterion: Annotated[
        Criterion | None, typer.Option(help="What the search improves; loss if it is not given")
    ] = None,
) -> None:
    """Compose LoRA adapters of one base model into one adapter, and print its model.

    The server composes them. If you stop this command, the composition goes on.
    """
    body = without_none(
        adapters=[_weighted(each) for each in adapters],
        method=method,
        density=density,
        majority_sign_method=majority_sign_method,
        svd_rank=svd_rank,
        svd_clamp=svd_clamp,
        suffix=suffix,
        seed=seed,
        search=_search(client, search, without_none(rows=rows, trials=trials, criterion=criterion)),
    )
    made = carry_out(client, "/adapters/compose", body, "/adapters/compositions", "composition")
    output.json(made) if json else output.data(str(made["fine_tuned_model"]))


def _weighted(text: str) -> dict[str, Any]:
    found = WEIGHTED.fullmatch(text)
    return {"adapter": found["adapter"], "weight": float(found["weight"])} if found else {"adapter": text}


def _search(client: Client, files: list[str] | None, given: dict[str, Any]) -> dict[str, Any] | None:
    if not files:
        if given:
            raise typer.BadParameter(f"--{next(iter(given))} belongs to --search, which names a file.")
        return None
    return {"files": [file_id(client, each) for each in files], **given}
