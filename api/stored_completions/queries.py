"""Reads of stored completions. Each takes the project."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.ids import first_id_at
from core.serving.stored_completions import ID_PREFIX
from core.tables import StoredCompletion


class Selection(NamedTuple):
    """The conditions for stored completions. A completion must meet all of them."""

    model: str | None = None
    """The model that answered"""
    metadata: dict[str, str] | None = None
    """Pairs that the completion's metadata holds"""
    without_metadata: bool = False
    rating: str | None = None
    """`up`, `down`, or `none`: without a rating"""
    start_time: int | None = None
    end_time: int | None = None
    """Unix seconds; the span does not include this moment"""
    rated: bool = False
    """True: it has a rating or a corrected answer"""


class Rated(NamedTuple):
    """A stored completion, and the latest answer to the same messages that was rated up, if there is one."""

    completion: StoredCompletion
    liked: StoredCompletion | None


def find(
    session: Session, project_id: str, completion_id: str, *, lock: bool = False
) -> StoredCompletion | None:
    query = select(StoredCompletion).where(
        StoredCompletion.id == completion_id, StoredCompletion.project_id == project_id
    )
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def page(
    session: Session,
    project_id: str,
    selection: Selection,
    *,
    after: str | None,
    limit: int,
    newest_first: bool = False,
) -> tuple[list[StoredCompletion], bool]:
    """Return a page of a selection, and whether more follow.

    The page ends early, but not before its first completion, if it would have more than PAGE_BYTES.
    """
    rows, has_more = fetch_page(
        session,
        _selected(select(StoredCompletion), project_id, selection),
        StoredCompletion.id,
        after=after,
        limit=limit,
        newest_first=newest_first,
        size=StoredCompletion.bytes,
    )
    return [completion for (completion,) in rows], has_more


def count(session: Session, project_id: str, selection: Selection, most: int) -> int:
    """Return how many completions a selection has, or `most` if it has more."""
    ids = _selected(select(StoredCompletion.id), project_id, selection)
    return session.scalars(select(func.count()).select_from(ids.limit(most).subquery())).one()


def with_liked(session: Session, completions: Iterable[StoredCompletion]) -> list[Rated]:
    """Return the completions with the answers that go before them in a preference."""
    return [Rated(completion, _liked(session, completion)) for completion in completions]


def _liked(session: Session, disliked: StoredCompletion) -> StoredCompletion | None:
    """Return the latest answer to the same messages that was rated up, for an answer that was rated down."""
    if disliked.rating != "down":
        return None
    same = select(StoredCompletion).where(
        StoredCompletion.project_id == disliked.project_id,
        StoredCompletion.prompt_sha256 == disliked.prompt_sha256,
        StoredCompletion.rating == "up",
    )
    return session.scalars(same.order_by(StoredCompletion.id.desc()).limit(1)).one_or_none()


def _selected(query: Select[Any], project_id: str, selection: Selection) -> Select[Any]:
    query = query.where(StoredCompletion.project_id == project_id)
    if selection.model is not None:
        query = query.where(StoredCompletion.model == selection.model)
    if selection.metadata:
        query = query.where(StoredCompletion.client_metadata.contains(selection.metadata))
    if selection.without_metadata:
        query = query.where(StoredCompletion.client_metadata == {})
    if selection.rating is not None:
        rating = StoredCompletion.rating
        query = query.where(rating.is_(None) if selection.rating == "none" else rating == selection.rating)
    if selection.rated or selection.rating in ("up", "down"):
        query = query.where(StoredCompletion.rated_at.is_not(None))
    if selection.start_time is not None:
        query = query.where(StoredCompletion.id >= _first_id(selection.start_time))
    if selection.end_time is not None:
        query = query.where(StoredCompletion.id < _first_id(selection.end_time))
    return query


def _first_id(moment: int) -> str:
    return first_id_at(ID_PREFIX, datetime.fromtimestamp(moment, UTC))
