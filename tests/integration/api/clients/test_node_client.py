"""What a user of Node does with OpenAI's official client. The steps are in tests/node."""

from pathlib import Path

import pytest

from tests.fixtures.clients.node_client import assert_holds
from tests.fixtures.service.api import BASE_MODEL, Api


@pytest.mark.parametrize("script", ["files.test.mjs", "errors.test.mjs"])
def test_the_official_client_of_node_works(api: Api, script: str) -> None:
    assert_holds(script, api.tenant(), BASE_MODEL)


def test_the_official_client_of_node_follows_jobs_to_their_results(api: Api, adapter_folder: Path) -> None:
    tenant = api.tenant()
    lease = api.claim(tenant.create_job()["id"])
    api.checkpoint(lease, 3, train_loss=0.5)
    api.finish(lease, adapter_folder)
    assert_holds("jobs.test.mjs", tenant, BASE_MODEL, FINISHED_JOB=lease.job_id)
