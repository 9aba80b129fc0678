"""The first visit of a page: nothing moves while it is read, and what it reads travels compressed."""

import pytest

from tests.fixtures.service.first_visit import pages, visit
from tests.fixtures.service.site import DESK, PHONE, Site

MOST_SHIFT = 0.02
NAMES = ("Job", "Adapter", "Playground", "Compare", "New job, cloned")
MOST_REQUESTS = {"Job": 30}


@pytest.mark.exhaustive
@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_moves_on_a_page_while_it_is_read(site: Site, device: dict[str, int]) -> None:
    job_id = site.create_job(validated=True, training={"eval_samples": 1, "eval_max_new_tokens": 8})
    site.finish(job_id)
    paths = pages(job_id, site.tenant.job(job_id)["adapter_id"])
    for name in NAMES:
        cost = visit(site.browser, site.api.url, site.tenant.key, paths[name], device)
        assert cost["shift"] < MOST_SHIFT, (name, cost["moved"])
        assert cost["requests"] <= MOST_REQUESTS.get(name, cost["requests"]), (name, cost["requests"])
        assert cost["largest"].get("openapi.json", 0) < 150_000, name
