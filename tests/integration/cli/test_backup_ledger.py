"""What a backup asks the database: which objects belong to it at a time, and who holds the time up."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.backup import ledger, point
from cli.client.errors import GaveUp
from core.database import create_database, session_factory
from core.ids import new_id
from core.tables import Artifact


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_database(database_url)
    yield engine
    engine.dispose()


def test_what_a_transaction_deletes_that_began_before_the_point_still_belongs_to_it(engine: Engine) -> None:
    at = point.begin_point(engine)
    same: dict[str, Any] = {
        "owner_kind": "probe",
        "state": "doomed",
        "counted": True,
        "bytes": 1,
        "rounds": 1,
    }
    ends = {"files/just": at - timedelta(seconds=40), "files/long": at - timedelta(days=1)}
    with session_factory(engine).begin() as session:
        for prefix, expires_at in ends.items():
            owner = new_id("probe-")
            row = Artifact(
                id=new_id("artifact-"), owner_id=owner, prefix=prefix, expires_at=expires_at, **same
            )
            session.add(row)
        session.flush()
        belongs = ledger.belongs(session, at)
        assert (belongs("files/just"), belongs("files/long")) == (True, False)
        session.rollback()


def test_a_transaction_that_stays_open_is_named(engine: Engine) -> None:
    with engine.connect() as open_one:
        process, _ = open_one.execute(text("SELECT pg_backend_pid(), pg_current_xact_id()::text")).one()
        with pytest.raises(GaveUp, match=f"process {process} "):
            point.begin_point(engine, give_up_seconds=0.2)
    assert point.begin_point(engine)


def test_nobody_waits_for_an_archive_where_there_is_none(engine: Engine) -> None:
    assert point.end_point(engine) is False
