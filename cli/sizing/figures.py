"""The figures of an installation, each with the place where it is from."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from api.job_estimates.device_estimate import shape_on
from api.job_estimates.disk import KEPT_FOR_RESUME
from api.job_estimates.estimate import estimate
from api.job_estimates.rows import BYTES_PER_TOKEN
from cli.client.quantities import HOUR
from cli.sizing.chats import BUSY, answers
from cli.sizing.wanted import Wanted
from core.estimates.job.devices import Machine
from core.estimates.job.report import DeviceEstimate, DiskUse
from core.estimates.shapes import base_bytes
from core.settings import Settings

EVENTS_BYTES = 47_000
"""Bytes of a job in Postgres, with a hundred events, indexes and its model. Measured: 47 GB of a million jobs
in bench/results/at-scale-2026-11-27.md"""
STEP_BYTES = 1_310
"""Bytes of a step's values and of its event in Postgres. Measured by tests/integration/cli/test_size.py"""
VALKEY_BYTES = 256 * 1024**2
"""The limit that docker-compose.yml sets: hints and counters, which it may drop"""

MODEL, MEASURED, DATASHEET, ASSUMED = "memory model", "measured", "data sheet", "assumed"


@dataclass(frozen=True)
class OnCard:
    """The memory, the times and the cards that training and chats take on one kind of card."""

    card: str
    fits: bool | None
    memory_bytes: int | None
    """The most that a trainer takes on each device, with its libraries"""
    job_seconds: tuple[float, float, float] | None
    """Least, expected and most"""
    training_hours: float | None
    """Hours of cards that a day's jobs take, by the expected time"""
    training_cards: tuple[int, int] | None
    """For the expected time of a job, and for the most"""
    answer_seconds: float | None
    chat_cards: int | None
    """None if the base model does not fit one card, or nobody chats"""


@dataclass(frozen=True)
class Figure:
    """One figure in bytes, and where it is from."""

    name: str
    bytes: float
    source: str


def on_cards(wanted: Wanted, machines: list[Machine], settings: Settings) -> list[OnCard]:
    """Return what each kind of card takes."""
    found = estimate(wanted.spec, wanted.facts, machines, with_options=False)
    return [
        _on_card(wanted, machine, device, settings)
        for machine, device in zip(machines, found.devices, strict=True)
    ]


def _on_card(wanted: Wanted, machine: Machine, device: DeviceEstimate, settings: Settings) -> OnCard:
    model = shape_on(wanted.facts, wanted.facts.entry, machine, False)
    chat = answers(wanted, model, machine, settings.serve_cache_bytes) if model and wanted.chats else None
    seconds, memory = device.seconds, device.memory
    times = (seconds.least, seconds.expected, seconds.most) if seconds else None
    return OnCard(
        card=device.device,
        fits=device.fits,
        memory_bytes=memory.peak_bytes + memory.runtime_bytes if memory else None,
        job_seconds=times,
        training_hours=wanted.jobs * times[1] * wanted.spec.training.devices / HOUR if times else None,
        training_cards=(_cards(wanted, times[1]), _cards(wanted, times[2])) if times else None,
        answer_seconds=chat.seconds if chat else None,
        chat_cards=chat.servers if chat else None,
    )


def _cards(wanted: Wanted, seconds: float) -> int:
    """Return the cards that train a day's jobs in its hours, if they are busy for a share BUSY of them."""
    workers = ceil(wanted.jobs * seconds / (wanted.hours * HOUR * BUSY))
    return workers * wanted.spec.training.devices


def figures(wanted: Wanted, slowest_seconds: float, settings: Settings) -> Iterator[Figure]:
    """Yield what the store, the database, the disks and the network need."""
    found = estimate(wanted.spec, wanted.facts, [], with_options=False)
    model = shape_on(wanted.facts, wanted.facts.entry, None, wanted.spec.sharded)
    if found.disk is None or model is None:
        return
    disk, kept = found.disk, wanted.jobs * wanted.days
    file = wanted.rows * wanted.tokens * BYTES_PER_TOKEN[1]
    checkpoints = disk.checkpoints_bytes - KEPT_FOR_RESUME * disk.checkpoint_bytes  # once the job has ended
    each = file + checkpoints + disk.result_bytes
    tokens = f"{BYTES_PER_TOKEN[1]} bytes for a token of a file: {ASSUMED}"
    yield Figure("store, for all days", kept * each, f"{MODEL}; {tokens}")
    metrics = wanted.steps * STEP_BYTES
    yield Figure(
        "Postgres, for all days",
        kept * (EVENTS_BYTES + metrics),
        f"{MEASURED}: {EVENTS_BYTES:,} bytes a job, {STEP_BYTES:,} bytes a step",
    )
    yield Figure("Valkey", VALKEY_BYTES, "the limit in docker-compose.yml")
    yield Figure("disk of a worker: base model", base_bytes(model), MODEL)
    yield Figure(
        "disk of a worker: a job",
        disk.rows_bytes + 2 * (disk.checkpoint_bytes + disk.result_bytes),
        f"{MODEL}; rows, a checkpoint and a result at once",
    )
    yield Figure(
        "network to the store, a day",
        wanted.jobs * _sent(wanted, disk, file, slowest_seconds, settings),
        f"{MODEL}; a checkpoint each {settings.checkpoint_seconds:.0f} s on the slowest of these cards",
    )


def _sent(wanted: Wanted, disk: DiskUse, file: float, seconds: float, settings: Settings) -> float:
    """Return the bytes of a job between API, worker and store.

    The file comes and goes, checkpoints go at each epoch's end and every `checkpoint_seconds`, and the result
    goes, is read back, and is downloaded once.
    """
    by_time = seconds / settings.checkpoint_seconds
    ends = wanted.epochs * (disk.checkpoint_bytes + disk.result_bytes)
    return 2 * file + by_time * disk.checkpoint_bytes + ends + 3 * disk.result_bytes
