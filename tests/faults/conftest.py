"""Fixtures of most tests of faults.

They begin with an API on a tiny base model, whose jobs' history is recorded, and end with the checker.
"""

from collections.abc import Iterator

import pytest

from cli.embedded import EmbeddedServers
from faults.checker import check
from faults.history import record_history
from tests.fixtures.models.tiny import write_base
from tests.fixtures.service.api import Api
from tests.fixtures.service.stack import Stack, job_api_on


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Return settings of the API and of the workers that a test module chooses itself."""
    return {}


@pytest.fixture(scope="module")
def job_api(
    module_servers: EmbeddedServers,
    database_url: str,
    settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    catalog = write_base(tmp_path_factory.mktemp("model"))
    with job_api_on(module_servers, database_url, catalog_file=catalog, log_level="debug", **settings) as api:
        with api.sessions.begin() as session:
            record_history(session)
        yield api


@pytest.fixture
def stack(stack: Stack) -> Iterator[Stack]:
    """Yield a stack without a worker. After the test, check what must be true after any fault."""
    yield stack
    check(stack.api)
