"""Finds jobs by words that a person types. Case does not matter.

A search reads all jobs of the project until the page is full, as no index of plain Postgres finds a part of a
word. So the number of words is bounded, and so is the time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg.errors import QueryCanceled
from sqlalchemy import ColumnElement, Select, Text, all_, cast, func, text
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, aliased, sessionmaker

from core.errors import InvalidRequest
from core.tables import File, Job

MOST_WORDS = 8
SEARCH_SECONDS = 5.0  # for each statement

TrainingFile, ValidationFile = aliased(File), aliased(File)


def words_in(search: str) -> tuple[str, ...]:
    """Return the words to search for. Raises InvalidRequest if there are too many."""
    words = tuple(search.split())
    if len(words) > MOST_WORDS:
        raise InvalidRequest(
            f"A search may have up to {MOST_WORDS} words, and this one has {len(words)}. Leave some of them "
            "out.",
            code="invalid_value",
            param="search",
        )
    return words


@contextmanager
def searching(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Yield a session whose statements may take `SEARCH_SECONDS` each.

    Raises InvalidRequest if one takes longer.
    """
    try:
        with sessions() as session:
            session.execute(text(f"SET LOCAL statement_timeout = {round(1000 * SEARCH_SECONDS)}"))
            yield session
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        raise InvalidRequest(
            f"The search was stopped, because it took longer than {SEARCH_SECONDS:g} s. Search fewer jobs: "
            "add `status`, `file` or `metadata[key]`.",
            code="search_too_slow",
            param="search",
        ) from error


def with_words(query: Select[*tuple[Any, ...]], words: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Narrow a query to the jobs whose names contain all of the words.

    The names are the job's own (`_names`) and those of its files. A deleted file keeps its name.
    """
    # Not ILIKE, which would put the names into lower case again for each word
    wanted = array([func.lower(f"%{_escaped(word)}%", type_=Text) for word in words])
    return (
        query.join(TrainingFile, TrainingFile.id == Job.training_file_id)
        .outerjoin(ValidationFile, ValidationFile.id == Job.validation_file_id)
        .where(func.lower(_names()).like(all_(wanted)))
    )


def _names() -> ColumnElement[str]:
    """Return all names as one text. So Postgres puts it together once for all words."""
    return func.concat_ws(
        " ",
        *(Job.id, Job.suffix, Job.base_model, Job.fine_tuned_model, cast(Job.client_metadata, Text)),
        *(Job.spec["adapter"]["type"].as_string(), Job.spec["objective"]["type"].as_string()),
        *(TrainingFile.id, TrainingFile.filename, ValidationFile.id, ValidationFile.filename),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
