"""Looks at models of the hub and changes the catalog's file. Nothing here commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.base_models.schemas import HubModel
from api.jobs.creation.facts import machine_of
from core.access import audit
from core.access.audit import Actor
from core.catalog import BaseModelEntry, Catalog
from core.errors import ConfigurationError, Conflict, InvalidRequest
from core.estimates.job.devices import Machine
from core.offering.catalog_file import add_entry, remove_entry
from core.offering.offer import Offer, look_at
from core.tables import Worker


def list_page(catalog: Catalog, after: str | None, limit: int) -> tuple[list[BaseModelEntry], bool]:
    """Return the entries by id, beyond the id `after`, and whether more follow."""
    entries = sorted(catalog, key=lambda entry: entry.id)
    following = [entry for entry in entries if after is None or entry.id > after]
    return following[:limit], len(following) > limit


def machines(session: Session) -> list[Machine]:
    """Return the devices of the workers that are there, each kind once."""
    query = select(Worker).where(Worker.expires_at > func.now()).order_by(Worker.started_at, Worker.owner)
    found = [machine_of(worker) for worker in session.scalars(query)]
    return list({(machine.title, machine.memory_bytes): machine for machine in found}.values())


def look(asked: HubModel, here: list[Machine]) -> Offer:
    """Ask the hub for a model. Raises InvalidRequest and Unavailable."""
    chosen = asked.model_dump(include={"id", "license", "max_length", "quantization"})
    return look_at(asked.repository, asked.revision, chosen, here)


def require_trainable(offer: Offer) -> None:
    """Raise InvalidRequest if no job could train the model."""
    if offer.broken:
        failed = [check for check in offer.checks if check.name in offer.broken]
        found = "; ".join(f"{check.name}: {check.found}. {check.advice}" for check in failed)
        raise InvalidRequest(
            f"Jobs cannot train {offer.entry.repository}. {found}",
            code="model_not_trainable",
            param="repository",
        )


def add(session: Session, actor: Actor, file: Path, entry: BaseModelEntry) -> None:
    """Write an entry to the catalog's file. Raises Conflict."""
    details = {"repository": entry.repository, "revision": entry.revision, "license": entry.license}
    audit.record(session, actor, "base_model.added", entry.id, details)
    session.flush()  # the file cannot be rolled back, so it changes last
    with _changing():
        add_entry(file, entry)


def remove(session: Session, actor: Actor, file: Path, model_id: str) -> None:
    """Remove an entry from the catalog's file. Raises NotFound and Conflict."""
    audit.record(session, actor, "base_model.removed", model_id)
    session.flush()
    with _changing():
        remove_entry(file, model_id)


@contextmanager
def _changing() -> Iterator[None]:
    """Turn what the operator has to mend on the API's machine into the answer of the request."""
    try:
        yield
    except ConfigurationError as error:
        raise Conflict(str(error), code="catalog_not_changed") from error
