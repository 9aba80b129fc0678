"""`tunery size`: says which machines so many jobs and chats need."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.client import output, quantities
from cli.client.home import DEFAULT_HOME, HomeOption, load_settings
from core.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.sizing.figures import Figure, OnCard
    from core.catalog import BaseModelEntry
    from core.estimates.job.devices import Machine
    from core.settings import Settings

CARDS = (
    "card",
    "fits",
    "memory",
    "a job",
    "card hours a day",
    "cards for training",
    "an answer",
    "cards for chats",
)
FIGURES = ("what", "how much", "from")
TB = 1e12
SOURCES = (
    "Times: operations of the memory model, peaks of data sheets, of which 12 to 50 % are assumed to be "
    "reached (30 % expected). Answers: bandwidth of data sheets, half of it assumed. Cards: busy for 70 % of "
    "the hours, assumed. Nothing was measured on a GPU."
)


def size(
    model: Annotated[str, typer.Argument(help="A model of the catalog, or a folder with its config.json")],
    jobs: Annotated[int, typer.Option(min=1, help="Jobs a day")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a job")] = 1000,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a row")] = 500,
    epochs: Annotated[int, typer.Option(min=1, max=50, help="Epochs of a job")] = 3,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of a LoRA")] = False,
    rank: Annotated[int, typer.Option(min=1, max=256, help="The LoRA's rank")] = 16,
    quantization: Annotated[
        Literal["nf4", "int8"] | None, typer.Option(help="Bits of the base model", show_default="bf16")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Devices that train each job together")] = 1,
    fsdp: Annotated[bool, typer.Option("--fsdp", help="Spread the base model over them")] = False,
    hours: Annotated[
        int, typer.Option(min=1, max=24, help="Hours of a day in which the jobs come and shall end")
    ] = 24,
    chats: Annotated[float, typer.Option(min=0, help="Chats a second, at the busiest time")] = 0.0,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of a prompt")] = 500,
    answer: Annotated[int, typer.Option(min=1, help="Tokens of an answer")] = 200,
    days: Annotated[int, typer.Option(min=1, help="Days for which results are kept")] = 90,
    card: Annotated[
        list[str] | None, typer.Option("--card", help="Only this card, such as l4; may be repeated")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: output.Json = False,
) -> None:
    """Say which machines so many jobs and chats need, and where each figure is from. No service is needed."""
    from cli.sizing.figures import figures, on_cards
    from cli.sizing.wanted import Wanted, job_of
    from core.estimates.job.devices import THIS_MACHINE

    settings = load_settings(home=home)
    spec, facts = job_of(
        _entry(model, settings),
        settings,
        rows=rows,
        tokens=tokens,
        epochs=epochs,
        full=full,
        rank=rank,
        quantization=quantization,
        devices=devices,
        fsdp=fsdp,
    )
    wanted = Wanted(jobs, rows, tokens, epochs, spec, facts, hours, chats, prompt, answer, days)
    cards = on_cards(wanted, _machines(card), settings)
    times = {each.card: each.job_seconds[1] for each in cards if each.job_seconds}
    slowest = max([each for name, each in times.items() if name != THIS_MACHINE] or [*times.values(), 0.0])
    found = list(figures(wanted, slowest, settings))
    if json:
        output.json({"cards": [asdict(each) for each in cards], "figures": [asdict(each) for each in found]})
        return
    output.table([_card(each) for each in cards], CARDS)
    output.table([_figure(each) for each in found], FIGURES)
    output.note(SOURCES)


def _entry(model: str, settings: "Settings") -> "BaseModelEntry":
    from core.catalog import BaseModelEntry, offered_models

    if (entry := offered_models(settings).get(model)) is not None:
        return entry
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"The catalog has no model {model!r}, and there is no {folder / 'config.json'}. `tunery models "
            "list` shows the catalog"
        )
    return BaseModelEntry(
        id="model",
        repository=model,
        source="folder",
        revision="",
        license="",
        max_length=131_072,
        path=folder.absolute(),
    )


def _machines(names: list[str] | None) -> "list[Machine]":
    from core.estimates.job.devices import CARDS as KNOWN
    from core.estimates.job.devices import own_cpu

    machines = {machine.name: machine for machine in (*KNOWN, own_cpu())}
    if unknown := [name for name in names or [] if name not in machines]:
        raise ConfigurationError(f"No card is called {unknown[0]!r}. There are {', '.join(machines)}")
    return [machine for name, machine in machines.items() if not names or name in names]


def _card(found: "OnCard") -> dict[str, Any]:
    times, cards = found.job_seconds, found.training_cards
    return {
        "card": found.card,
        "fits": quantities.FITS[found.fits],
        "memory": found.memory_bytes and f"{found.memory_bytes / quantities.GB:.1f} GB",
        "a job": times and f"{_time(times[1])} ({_time(times[0])} to {_time(times[2])})",
        "card hours a day": found.training_hours and f"{found.training_hours:.1f}",
        "cards for training": cards and f"{cards[0]} (at most {cards[1]})",
        "an answer": found.answer_seconds and _time(found.answer_seconds),
        "cards for chats": found.chat_cards,
    }


def _figure(found: "Figure") -> dict[str, Any]:
    return {"what": found.name, "how much": _size(found.bytes), "from": found.source}


def _size(count: float) -> str:
    return quantities.size(count) if count < TB else f"{count / TB:.1f} TB"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else quantities.time(seconds)
