"""A browser, a service with a trainer, and a page that fails its test when it complains."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.dashboard import BUILT
from cli.embedded import EmbeddedServers
from core.tables import Task
from core.work.client import delete_all
from tests.fixtures.clients.chromium import chromium
from tests.fixtures.service.api import Api
from tests.fixtures.service.site import PAGE_SECONDS, SharedContext, Site, Visit, browsing, service_on

expect.set_options(timeout=PAGE_SECONDS * 1000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not (BUILT / "index.html").exists():
        pytest.skip("the dashboard is not built: `make dashboard` does it")
    program = chromium()
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program) as browser:
        yield browser


@pytest.fixture(scope="package")
def service(
    browser: Browser, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    with service_on(servers, tmp_path_factory.mktemp("models")) as api:
        yield api


@pytest.fixture
def site(service: Api, browser: Browser) -> Iterator[Site]:
    """Return the service with a new project, whose jobs and tasks end with the test. No other takes one."""
    site = Site(service, service.tenant(), browser)
    yield site
    for job in site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]:
        site.tenant.http.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
    with service.sessions.begin() as session:
        delete_all(session, Task.project_id == site.tenant.project_id)


@pytest.fixture(scope="package")
def shared_context(service: Api, browser: Browser) -> Iterator[SharedContext]:
    with browsing(browser, service.url) as context:
        yield SharedContext(context, service.url)


@pytest.fixture
def visit(site: Site, shared_context: SharedContext) -> Iterator[Visit]:
    """Signed in."""
    with shared_context.visit(site.tenant) as visit:
        yield visit


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page
