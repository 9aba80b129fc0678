"""Finds jobs by words that a person types. Case does not matter.

An index finds the jobs of a project that have all trigrams (three letters in a row) of the words. It cannot
help with a word of one or two letters: such a search reads the names of all jobs of the project. So the
number of words is bounded, and so is the time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg.errors import QueryCanceled
from sqlalchemy import CTE, Select, Text, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import InvalidRequest
from core.tables import Job, JobNames

MOST_WORDS = 8
SEARCH_SECONDS = 5.0  # for each statement
NEWEST = 500  # jobs that a search looks at first


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
            f"The search was stopped, because it took longer than {SEARCH_SECONDS:g} s. Search for "
            "longer words.",
            code="search_too_slow",
            param="search",
        ) from error


def jobs_with_words(project_id: str, words: Sequence[str], after: str | None) -> tuple[CTE, CTE]:
    """Return two queries for the ids of the project's jobs that have all of the words in their names.

    The first looks at the newest jobs before the job `after`, which is quick for words that many jobs have.
    The second finds all jobs by the index, which is quick for words that few jobs have.
    """
    lowered = [func.lower(word, type_=Text) for word in words]
    named = [func.strpos(JobNames.names, word) > 0 for word in lowered]
    newest = select(Job.id).where(Job.project_id == project_id).order_by(Job.id.desc()).limit(NEWEST)
    if after is not None:
        newest = newest.where(Job.id < after)
    first = select(JobNames.job_id).where(JobNames.job_id.in_(newest), *named)
    terms = func.job_search_terms(JobNames.project_id, JobNames.names, type_=ARRAY(Text))
    indexed = [terms.contains(func.job_search_terms(project_id, word)) for word in lowered]
    every = select(JobNames.job_id).where(*indexed, *named)
    return _as_they_stand(first), _as_they_stand(every)


def _as_they_stand(ids: Select[str]) -> CTE:
    """Return a part of a query that Postgres plans by itself. It does not know how rare a word is."""
    return ids.cte("named").prefix_with("MATERIALIZED")
