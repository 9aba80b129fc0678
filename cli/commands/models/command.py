"""`tunery models`: the base models on offer. `add` looks at a model of the hub before it is offered."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client import output
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME, HomeOption, load_settings
from core.errors import ConfigurationError
from core.units import GIB

if TYPE_CHECKING:
    from core.catalog import BaseModelEntry
    from core.estimates.job.devices import Machine
    from core.offering.fits import Fit
    from core.offering.offer import Offer
    from core.settings import Settings

app = typer.Typer(help="List, add, check and remove the base models on offer.", no_args_is_help=True)

COLUMNS = ("id", "repository", "source", "revision", "license", "max_length", "quantization")
QUANTISED = "quantised_bytes"
FITS = ("device", "memory", "as published", "int8", "nf4")
PRECISIONS = {"none": "as published", "int8": "int8", "nf4": "nf4"}
ModelId = Annotated[str, typer.Argument(metavar="ID", help="The id of a model in the catalog")]


@app.command("list")
def list_models(home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """List the base models of this machine's catalog, and name its file."""
    from core.catalog import catalog_path, offered_models

    settings = load_settings(home=home)
    file = catalog_path(settings)
    entries = list(offered_models(settings))
    if json:
        output.json([_shown(entry, settings, exclude_none=True) for entry in entries])
        return
    output.table([_shown(entry, settings) for entry in entries], (*COLUMNS, QUANTISED))
    output.note(
        f"They are in {file}" if file.exists() else f"There is no {file}, so this is the built-in model"
    )
    output.note(
        "`tunery adapters list` shows your fine-tuned models, and `tunery aliases list` their aliases"
    )


@app.command()
def add(
    source: Annotated[str, typer.Argument(metavar="HUB_ID", help="A name like Qwen/Qwen3-8B, or a folder")],
    model_id: Annotated[
        str | None, typer.Option("--id", help="What clients send as `model`", show_default="from the name")
    ] = None,
    revision: Annotated[str, typer.Option(help="A branch, tag or commit; the commit is written")] = "main",
    license_name: Annotated[
        str | None, typer.Option("--license", help="The licence", show_default="as declared there")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=8, help="The most tokens of a row", show_default="the model's own, up to 8192"),
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option(help="nf4 or int8: how all jobs hold the weights", show_default="as published"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at the model, and change nothing")] = False,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Offer a model of the hub, or of a folder: look at it, say where it fits, and write it to the catalog.

    Weights are fetched when a job first needs them. Set HF_TOKEN for gated models, here and for the workers.
    """
    from core.offering.offer import look_at

    offer = look_at(
        source,
        revision,
        {"id": model_id, "license": license_name, "max_length": max_length, "quantization": quantization},
        _own_machine(),
        folders=True,
    )
    _report(offer, json)
    _raise_if_broken(offer)
    if not dry_run:
        from core.catalog import catalog_path
        from core.offering.catalog_file import add_entry

        file = catalog_path(load_settings(home=home))
        add_entry(file, offer.entry)
        output.note(f"{offer.entry.id} is in {file}. Running processes offer it at once.")


@app.command()
def check(model_id: ModelId, home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Look again at a model of the catalog: at the hub or in its folder."""
    from cli.checks.machine import base_model
    from core.catalog import offered_models
    from core.offering.offer import Offer, look_again

    entry = offered_models(load_settings(home=home)).get(model_id)
    if entry is None:
        raise ConfigurationError(f"The catalog has no model {model_id!r}. `tunery models list` shows them")
    if entry.source == "wheel":
        offer = Offer(entry, [base_model(entry)], [])
    else:
        offer = look_again(entry, _own_machine())
        if entry.source == "folder":
            offer.checks.append(base_model(entry))
    _report(offer, json)
    _raise_if_broken(offer)


@app.command()
def remove(model_id: ModelId, home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Offer a model no more. Its weights on the disk, and what was trained on it, stay.

    What was kept of its weights in 4 or 8 bits is removed from this machine's disk, as it can be made anew.
    """
    from core.base_files.paths import quantised_copies
    from core.catalog import catalog_path, offered_models
    from core.offering.catalog_file import remove_entry

    settings = load_settings(home=home)
    entry, file = offered_models(settings).get(model_id), catalog_path(settings)
    remove_entry(file, model_id)
    for copy in quantised_copies(entry, settings.models_folder) if entry else []:
        shutil.rmtree(copy, ignore_errors=True)
    output.json({"removed": model_id}) if json else output.note(f"{model_id} is not in {file} any more")


def _own_machine() -> "list[Machine]":
    from cli.commands.models.own_machine import own_machine

    return [own_machine()]


def _shown(entry: "BaseModelEntry", settings: "Settings", exclude_none: bool = False) -> dict[str, Any]:
    """Return an entry, and the bytes that its weights in 4 or 8 bits take on this machine's disk."""
    from core.base_files.paths import quantised_copies

    files = [file for copy in quantised_copies(entry, settings.models_folder) for file in copy.glob("*")]
    size = sum(map(_size, files))
    return entry.model_dump(mode="json", exclude_none=exclude_none) | ({QUANTISED: size} if size else {})


def _size(file: Path) -> int:
    """Return a file's bytes: 0 if a worker has removed it meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _report(offer: "Offer", json: bool) -> None:
    from dataclasses import asdict

    from cli.checks.printing import print_checks

    fits = [_row(fit) for fit in offer.fits]
    if json:
        shown = offer.entry.model_dump(mode="json", exclude_none=True)
        output.json({"model": shown, "checks": [asdict(check) for check in offer.checks], "fits": fits})
        return
    output.record(offer.entry.model_dump(mode="json"), COLUMNS)
    print_checks(offer.checks)
    if fits:
        output.table(fits, FITS)


def _row(fit: "Fit") -> dict[str, str]:
    verdicts = {PRECISIONS[precision]: str(verdict) for precision, verdict in fit.verdicts.items()}
    return {"device": fit.device, "memory": f"{fit.memory_bytes / GIB:.0f} GiB", **verdicts}


def _raise_if_broken(offer: "Offer") -> None:
    if offer.broken:
        raise GaveUp(f"Jobs cannot train {offer.entry.id}: {', '.join(offer.broken)}")
