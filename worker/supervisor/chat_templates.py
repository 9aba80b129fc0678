"""The chat templates of the base models on offer, read without loading a tokenizer.

A worker writes down what each of them has a place for. So the API can refuse a job before it exists.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from core.base_files.chat_templates import CONFIG, templates_in
from core.base_files.gguf import text_in
from core.base_files.paths import files_in_wheels, folder_of
from core.catalog import BaseModelEntry
from core.datasets.template_needs import Need, needs_served
from core.errors import AppError
from core.jobs.token_counts import tokenizer_of
from core.offering.published import on_hub
from core.tables import ChatTemplate

Template = str | dict[str, str]
Key = tuple[str, str]  # of a base model: id and revision

SECONDS = 10.0
HUB_AGAIN_SECONDS = 300.0
OF_GGUF = "tokenizer.chat_template"

log = structlog.get_logger()


class TemplateNotes:
    """Writes down which needs each base model's template: from the disk, or before that from the hub."""

    def __init__(
        self, sessions: sessionmaker[Session], catalog: Iterable[BaseModelEntry], models: Path
    ) -> None:
        self._sessions, self._catalog, self._models = sessions, catalog, models
        self._known: dict[Key, list[Need]] = {}
        self._on_disk: set[Key] = set()
        self._hub_again: dict[Key, float] = {}

    def write(self) -> None:
        """Write what is new since the last call."""
        for entry in self._catalog:
            key = entry.id, entry.revision
            if key in self._on_disk and entry.source != "folder":
                continue  # a revision on the disk never changes, but an operator may change a folder
            template = template_of(entry, self._models)
            is_on_disk = template is not None
            if template is None and key not in self._known:
                template = self._at_the_hub(entry, key)
            if template is None:
                continue
            if self._known.get(key) != (served := needs_served(template)):
                with self._sessions.begin() as session:
                    _note(session, tokenizer_of(entry), served)
                self._known[key] = served
            if is_on_disk:
                self._on_disk.add(key)

    def _at_the_hub(self, entry: BaseModelEntry, key: Key) -> Template | None:
        """Return the templates of a model that nobody has fetched, or None if the hub tells none.

        Then the hub is asked again later.
        """
        if entry.source != "hub" or time.monotonic() < self._hub_again.get(key, 0.0):
            return None
        self._hub_again[key] = time.monotonic() + HUB_AGAIN_SECONDS
        try:
            return dict(on_hub(entry.repository, entry.revision).templates) or None
        except AppError as error:
            log.warning("chat_template_not_read_at_the_hub", model=entry.id, error=str(error))
            return None


def _note(session: Session, base_model: str, served: list[Need]) -> None:
    values = {"places": served, "seen_at": func.now()}
    statement = insert(ChatTemplate).values(base_model=base_model, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["base_model"], set_=values))


def template_of(entry: BaseModelEntry, models: Path) -> Template | None:
    """Return a model's templates, "" if it has none, and None if the model is not on this machine yet."""
    folder = folder_of(entry, models)
    try:
        if (folder / CONFIG).exists():
            return templates_in(folder)
        if entry.chat_template is not None:
            return entry.chat_template.read_text("utf-8")
        return _in_wheel(entry) if entry.source == "wheel" else None
    except (OSError, ValueError) as error:
        log.warning("chat_template_not_read", model=entry.id, error=str(error))
        return None


def _in_wheel(entry: BaseModelEntry) -> Template | None:
    """Return the template in a wheel's GGUF file, which is converted when a job first needs the model."""
    files = files_in_wheels(entry)
    return (text_in(files[0], OF_GGUF) or "") if files else None
