"""Makes a file of a selection of stored completions, while they are read a few at a time."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from api.files.intake import FileIntake, ReceivedFile
from api.stored_completions import queries
from api.stored_completions.queries import Selection
from api.stored_completions.rows import Tally, lines_of
from api.stored_completions.schemas import MakeFile
from core.datasets.kinds import PURPOSE
from core.errors import InvalidRequest
from core.ids import new_id
from core.storage.object_store import ObjectStore, file_key

ROWS_AT_ONCE = 256


class CompletionsFile:
    """A file that is made of stored completions.

    Pass the pages of `pages` to `feed`, then call `finish` or `abort`. No session is open while the object
    store is written to.
    """

    def __init__(
        self, asked: MakeFile, project_id: str, store: ObjectStore, *, max_bytes: int, max_row_bytes: int
    ) -> None:
        self._asked = asked
        self._project_id = project_id
        self._max_row_bytes = max_row_bytes
        self.id = new_id("file-")
        self.key = file_key(project_id, self.id)
        self._intake = FileIntake(
            store, self.key, max_bytes=max_bytes, max_row_bytes=max_row_bytes, kind=asked.kind
        )
        self._tally = Tally()

    def pages(self, sessions: sessionmaker[Session]) -> Iterator[bytes]:
        """Yield the rows of a few completions each, oldest completion first. A page may be empty."""
        asked, after, has_more = self._asked, None, True
        now = int(time.time()) + 1  # what comes later is left out, or this would never end under load
        selection = Selection(
            asked.model,
            asked.metadata,
            rating=asked.rating,
            start_time=asked.start_time,
            end_time=now if asked.end_time is None else min(asked.end_time, now),
            rated=asked.kind in ("preference", "labelled"),
        )
        while has_more:
            with sessions() as session:
                page, has_more = queries.page(
                    session, self._project_id, selection, after=after, limit=ROWS_AT_ONCE
                )
                found = queries.with_liked(session, page)
            after = page[-1].id if page else None
            lines = (lines_of(asked.kind, each, self._tally, self._max_row_bytes) for each in found)
            yield b"".join(line for several in lines for line in several)

    def feed(self, block: bytes) -> None:
        self._intake.write(block, PURPOSE)

    def finish(self) -> ReceivedFile:
        """Commit the object. Raises InvalidRequest if there is no row."""
        if not self._tally.rows:
            raise InvalidRequest(
                f"No row can be made: {self._tally.completions} stored completions were read"
                f"{self._reasons()}. Select others, rate some, or choose another 'kind'.",
                code="no_rows",
            )
        lifetime = self._asked.expires_after.seconds if self._asked.expires_after else None
        received = self._intake.finish(self.id, self._asked.filename, PURPOSE, lifetime)
        return replace(received, lineage=self._lineage())

    def abort(self) -> None:
        """Remove what was written to the object store."""
        self._intake.abort()

    def _lineage(self) -> dict[str, Any]:
        return {
            "type": "stored_completions",
            "selection": self._asked.model_dump(
                mode="json", exclude_none=True, exclude={"filename", "expires_after"}
            ),
            "completions": self._tally.completions,
            "left_out": dict(self._tally.left_out),
        }

    def _reasons(self) -> str:
        reasons = ", ".join(f"{count} for '{reason}'" for reason, count in self._tally.left_out.items())
        return f", and left out: {reasons}" if reasons else ""
