"""The counted tokens of files: a trainer writes them when it has rendered a file, estimates read them."""

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.catalog import BaseModelEntry
from core.objectives.registry import OBJECTIVES
from core.tables import File, TokenCount


def tokenizer_of(entry: BaseModelEntry) -> str:
    """Return the name of a base model's tokenizer and chat template."""
    return f"{entry.id}@{entry.revision}"


def rendering_of(objective: str) -> str:
    """Return the name of the way in which an objective has its rows rendered."""
    found = OBJECTIVES[objective]
    return f"{found.dataset}, with companions" if found.has_companions else found.dataset


def find(session: Session, file: File, tokenizer: str, rendering: str, max_length: int) -> TokenCount | None:
    """Return the count of a file whose rows are cut to `max_length`, or None.

    A count of another file of the project with the same content is the same. So is a count at another length
    if neither length cuts a row.
    """
    uncut = (TokenCount.longest < max_length) & (TokenCount.longest < TokenCount.max_length)
    query = (
        select(TokenCount)
        .where(TokenCount.tokenizer == tokenizer, TokenCount.rendering == rendering)
        .where(or_(TokenCount.max_length == max_length, uncut))
        .limit(1)
    )
    own = session.scalars(query.where(TokenCount.file_id == file.id)).one_or_none()
    if own is not None:
        return own
    equal = query.join(File, File.id == TokenCount.file_id)
    return session.scalars(
        equal.where(File.project_id == file.project_id, File.sha256 == file.sha256)
    ).one_or_none()


def keep(session: Session, count: TokenCount) -> None:
    """Write a count, in place of an earlier one of the same rows. What is not known stays as it was."""
    keys = ("file_id", "tokenizer", "rendering", "max_length")
    columns = ("rows", "tokens", "longest", "squares", "computed_share")
    values = {name: getattr(count, name) for name in (*keys, *columns)}
    statement = insert(TokenCount).values(values)
    newer = {name: func.coalesce(statement.excluded[name], getattr(TokenCount, name)) for name in columns}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=newer))


def keep_share(session: Session, file_id: str, tokenizer: str, rendering: str, share: float) -> None:
    """Write which share of a file's tokens is computed."""
    mine = (
        (TokenCount.file_id == file_id)
        & (TokenCount.tokenizer == tokenizer)
        & (TokenCount.rendering == rendering)
    )
    session.execute(update(TokenCount).where(mine).values(computed_share=share))
