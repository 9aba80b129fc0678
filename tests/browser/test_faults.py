"""What goes wrong beside the page is said plainly, and got over."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.fixtures.clients.relay import BrowserRelay
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, running_api, wait_for
from tests.fixtures.service.pages import NO_ANSWER, downloaded, newest_step, queued
from tests.fixtures.service.site import END_SECONDS, Site, Visit

PAGE_OF_EVENTS = 200  # as the page reads them


class Restartable:
    """A second server before the same database, which goes and comes back at the same address."""

    def __init__(self, api: Api, running: ExitStack) -> None:
        self._api, self._running = api, running
        self.url = self._start(free_port())  # nobody else takes it while the server is away

    def _start(self, port: int) -> str:
        return self._running.enter_context(running_api(self._api.settings, self._api.sessions, port)).url

    def stop(self) -> None:
        self._running.close()

    def start_again(self) -> None:
        assert self._start(int(self.url.rsplit(":", 1)[1])) == self.url


@pytest.fixture
def server(service: Api) -> Iterator[Restartable]:
    with ExitStack() as running:
        yield Restartable(service, running)


@pytest.mark.exhaustive
def test_a_restart_of_the_server_is_told_and_loses_no_line(site: Site, server: Restartable) -> None:
    job_id = site.create_long_job(suffix="outlives")
    with site.visit(url=server.url) as visit:
        visit.allow(NO_ANSWER)
        page = visit.page
        page.goto(f"/jobs/{job_id}")
        expect(page.get_by_text("Following")).to_be_visible()
        server.stop()
        expect(page.get_by_text("The service does not answer.").first).to_be_visible()
        expect(page.get_by_text("Reconnecting…")).to_be_visible()
        before = site.tenant.job(job_id)["progress"]["step"]
        wait_for(lambda: site.tenant.job(job_id)["progress"]["step"] > before + PAGE_OF_EVENTS, END_SECONDS)
        server.start_again()
        expect(page.get_by_text("Following")).to_be_visible()
        expect(page.get_by_text("The service does not answer.")).to_have_count(0)
        page.get_by_label("Search the log").fill(f"Step {before + 1}/")
        expect(page.get_by_role("log")).to_contain_text(f"Step {before + 1}/")
        page.get_by_role("link", name="Jobs", exact=True).first.click()
        expect(page.get_by_role("link", name="outlives")).to_be_visible()


def test_a_line_that_breaks_is_told_on_a_job_s_page_which_goes_on_from_there(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    job_id = site.create_long_job()
    visit.allow(NO_ANSWER)
    page = visit.page
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_text("Following")).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("The service does not answer.").first).to_be_visible()
    before = site.tenant.job(job_id)["progress"]["step"]
    wait_for(lambda: site.tenant.job(job_id)["progress"]["step"] > before + 5, END_SECONDS)
    page.context.set_offline(False)
    expect(page.get_by_text("The service does not answer.")).to_have_count(0)
    expect(page.get_by_text("Following")).to_be_visible()
    page.get_by_role("button", name="Table of Loss").click()
    wait_for(lambda: newest_step(page) > before + 5, END_SECONDS)
    steps = [int(row["step"]) for row in downloaded(page, tmp_path)]
    assert steps == list(range(1, len(steps) + 1))


@pytest.fixture
def relay(service: Api) -> Iterator[BrowserRelay]:
    with BrowserRelay.to(service.url) as relay:
        yield relay


@pytest.mark.parametrize("fault", ["reset", "silence"])
@pytest.mark.exhaustive
def test_a_stream_that_is_cut_or_falls_silent_is_resumed(
    site: Site, relay: BrowserRelay, tmp_path: Path, fault: str
) -> None:
    job_id = site.create_long_job()
    with site.visit(url=relay.url) as visit:
        visit.allow(NO_ANSWER)
        page = visit.page
        page.clock.install()
        page.goto(f"/jobs/{job_id}")
        expect(page.get_by_text("Following")).to_be_visible()
        page.get_by_role("button", name="Table of Loss").click()
        before = newest_step(page)
        if fault == "reset":
            page.route("**/events*", lambda route: route.abort())  # so that the page says it until it is seen
            relay.reset_streams()
            expect(page.get_by_text("The service does not answer.").first).to_be_visible()
            page.unroute("**/events*")
        else:
            relay.silence_streams()
            wait_for(lambda: stands_still(page), END_SECONDS)  # what was on its way has arrived
            page.clock.fast_forward(46_000)
        reached = site.tenant.job(job_id)["progress"]["step"]
        wait_for(lambda: newest_step(page) > max(before, reached) + 10, END_SECONDS)
        expect(page.get_by_text("Following")).to_be_visible()
        expect(page.get_by_text("The service does not answer.")).to_have_count(0)
        steps = [int(row["step"]) for row in downloaded(page, tmp_path)]
        assert steps == list(range(1, len(steps) + 1))


def stands_still(page: Page) -> bool:
    step = newest_step(page)
    page.wait_for_timeout(1500)  # longer than the pauses between two writes of a trainer
    return newest_step(page) == step


def test_an_answer_that_is_cut_in_its_middle_is_asked_for_again(site: Site, relay: BrowserRelay) -> None:
    job_id = queued(site, "cut")
    with site.visit(url=relay.url) as visit:
        visit.allow(NO_ANSWER)
        visit.page.set_extra_http_headers({"Accept-Encoding": "identity"})  # the mark must be readable
        relay.end_before(b'"queue_position"')
        visit.page.goto(f"/jobs/{job_id}")
        expect(visit.page.get_by_text("The service does not answer.")).to_be_visible()
        relay.end_before(None)
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("cut")


def test_a_page_of_a_build_that_is_gone_is_loaded_anew(visit: Visit) -> None:
    """Once: where it stays away, the page says so."""
    page, asked = visit.page, list[str]()
    visit.allow(NO_ANSWER, "TypeError: Failed to fetch dynamically imported module")
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()

    def be_gone(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=404)
        else:
            route.continue_()

    page.route("**/assets/WorkersPage-*.js", be_gone)
    with page.expect_event("load"):
        page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    page.unroute("**/assets/WorkersPage-*.js")

    page.route("**/assets/FilesPage-*.js", lambda route: route.fulfill(status=404))
    with page.expect_event("load"):
        page.get_by_role("link", name="Files").click()
    expect(page.get_by_text("This page cannot be shown.")).to_be_visible()


def test_a_picture_that_the_browser_does_not_make_is_told(site: Site, page: Page) -> None:
    job_id = site.create_job()
    site.finish(job_id)
    page.add_init_script("HTMLCanvasElement.prototype.toBlob = (done) => done(null)")
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="PNG of Loss", exact=True).click()
    expect(page.get_by_text("The browser could not make the picture.")).to_be_visible()


def test_a_page_that_was_never_opened_leaves_the_frame_while_the_service_is_away(site: Site) -> None:
    with site.visit() as visit:  # other tests opened the page in the shared context, whose cache has it
        visit.allow(NO_ANSWER, "Unreachable")
        page = visit.page
        page.goto("/jobs")
        expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
        page.context.set_offline(True)
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evals").click()
        expect(page.get_by_text("This page was not opened before")).to_be_visible()
        expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Evals")
