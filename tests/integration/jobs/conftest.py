"""What several modules of jobs start: the API with a trainer, on a base model whose results are exact."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import write_base
from tests.fixtures.service.api import Api
from tests.fixtures.service.stack import job_api_on


@pytest.fixture(scope="module")
def fp32_api(
    servers: EmbeddedServers, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("base")
    write_base(folder, dtype="fp32")
    with job_api_on(servers, database_url, catalog_file=folder / "catalog.toml") as api:
        yield api
