"""Sessions behind a pooler: what they have, and what is refused there."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from api.http.errors import expected
from cli.embedded import EmbeddedServers
from core.database import create_database
from core.errors import ConfigurationError
from core.releases import session_name
from core.schema import migrate
from tests.fixtures.postgres.pgbouncer import pgbouncer
from tests.fixtures.service.servers import database_on

pytestmark = pytest.mark.exhaustive


def test_each_session_ends_what_takes_too_long_once_the_database_is_migrated(
    servers: EmbeddedServers, template: str
) -> None:
    """Before that, no transaction begins: the error says which command is missing."""
    with database_on(servers, template) as url, pgbouncer(url) as pooled:
        behind = create_database(pooled)
        with pytest.raises(ConfigurationError, match=r"role tunery.*run `tunery migrate`") as refused:
            behind.connect()
        answer = expected(refused.value)
        assert answer is not None
        assert answer.status == 503, "a running API tries again"
        migrate(itself := create_database(url))
        itself.dispose()
        with itself.connect() as connection:  # the sessions that the pooler has opened before
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                    " AND pid <> pg_backend_pid()"
                ),
                {"name": make_url(url).database},
            )
        itself.dispose()
        with behind.connect() as connection:
            shown = [
                connection.scalar(text(f"SHOW {name}"))
                for name in ("statement_timeout", "idle_in_transaction_session_timeout", "timezone")
            ]
            assert shown == ["30s", "15s", "UTC"]
        with itself.connect() as connection:
            names = connection.scalars(
                text("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
            )
            assert session_name(pooled=True) in list(names), "a shared session says nothing of a release"
        itself.dispose()
        behind.dispose()


def test_a_migration_through_a_pooler_is_refused_before_it_begins(
    servers: EmbeddedServers, database_url: str
) -> None:
    with pgbouncer(database_url) as pooled:
        engine = create_database(pooled)
        itself = create_database(database_url)
        migrate(itself)
        itself.dispose()
        with pytest.raises(ConfigurationError, match="TUNERY_DATABASE_DIRECT_URL"):
            migrate(engine)
        engine.dispose()


def test_an_address_with_several_hosts_leads_to_the_one_that_writes(database_url: str) -> None:
    """The first host refuses connections."""
    url = make_url(database_url)
    several = (
        f"postgresql://{url.username}:{url.password}@127.0.0.1:1,{url.host}:{url.port}/{url.database}"
        "?target_session_attrs=read-write"
    )
    engine = create_database(several)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == url.database
    engine.dispose()
