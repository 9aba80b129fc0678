"""An API, an adapter with random weights on a tiny base model, and the processes that make exports of it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.roles import Role
from tests.fixtures.models.tiny import write_base
from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.work.exporting import published


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def api(servers: Any, database_url: str, catalog: Path) -> Iterator[Api]:
    with job_api_on(servers, database_url, catalog_file=catalog, project_open_tasks=2) as api:
        yield api


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


@pytest.fixture
def tasks(api: Api, tmp_path: Path) -> Iterator[WarmTasks]:
    with WarmTasks(api.sessions, ["export"], variables_of(api.settings, home=tmp_path)) as tasks:
        yield tasks


@pytest.fixture
def adapter(api: Api, tenant: Tenant, catalog: Path, tmp_path: Path) -> str:
    return published(api, tenant, catalog, tmp_path / "adapter")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Make a key that signs exports, with the public key beside it. Return the path of the private key."""
    key_file = tmp_path / "signing-key.pem"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key_file)
    _openssl("ec", "-in", key_file, "-pubout", "-out", tmp_path / "signing-key.pub")
    return key_file


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
