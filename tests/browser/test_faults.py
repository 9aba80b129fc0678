"""What goes wrong beside the page is said plainly, and got over."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from core.access.keys import revoke_key
from core.ids import new_id
from core.tables import Event
from tests.fixtures.clients.relay import BrowserRelay
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, running_api, wait_for
from tests.fixtures.service.pages import NO_ANSWER, HeldBack, downloaded, newest_step, queued
from tests.fixtures.service.site import END_SECONDS, Site, Visit
from tests.fixtures.work.evals_api import make_eval

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


def test_a_revoked_key_leads_to_the_sign_in_and_the_next_one_back(site: Site, visit: Visit) -> None:
    job_id = site.create_long_job()
    visit.allow(f"{NO_ANSWER}: the server responded with a status of 401")
    page = visit.page
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(job_id)
    with site.api.sessions.begin() as session:
        revoke_key(session, site.tenant.key.split("_")[1])
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="signed out")).to_contain_text("revoked")
    site.tenant = site.api.tenant(site.tenant.project)
    page.get_by_label("API key").fill(site.tenant.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(job_id)
    expect(page).to_have_url(re.compile(job_id))


def test_a_job_deleted_elsewhere_leaves_the_list_and_its_page_says_so(site: Site, visit: Visit) -> None:
    gone = queued(site, "goes")
    queued(site, "stays")
    visit.allow(f"{NO_ANSWER}: the server responded with a status of 404")
    jobs, details = visit.page, visit.page.context.new_page()
    jobs.goto("/jobs")
    expect(jobs.get_by_role("link", name="goes")).to_be_visible()
    details.goto(f"/jobs/{gone}")
    expect(details.get_by_role("heading", level=1)).to_have_text("goes")
    delete_elsewhere(site, gone)
    expect(details.get_by_text("was deleted meanwhile")).to_be_visible()
    expect(details.get_by_role("link", name="All jobs")).to_be_visible()
    expect(jobs.get_by_role("link", name="goes")).to_have_count(0)
    expect(jobs.get_by_role("link", name="stays")).to_be_visible()
    details.reload()
    expect(details.get_by_text("There is no job")).to_contain_text("It was deleted")


def test_the_page_of_an_ended_job_tells_of_its_deletion_and_leads_to_its_adapter(site: Site) -> None:
    job_id = site.create_job(suffix="ended")
    site.finish(job_id)
    with site.visit() as visit:
        visit.allow(f"{NO_ANSWER}: the server responded with a status of 404")
        page = visit.page
        page.clock.install()
        page.goto(f"/jobs/{job_id}")
        expect(page.get_by_text("The job has ended")).to_be_visible()
        delete_elsewhere(site, job_id)
        page.clock.fast_forward(31_000)
        expect(page.get_by_text("was deleted meanwhile")).to_be_visible()
        page.get_by_role("link", name="Its adapter").click()
        expect(page.get_by_role("region", name="Lineage", exact=True)).to_contain_text(f"{job_id} (deleted)")
        expect(page.get_by_role("link", name="Train another like it")).to_have_count(0)


def test_a_job_deleted_elsewhere_stays_in_a_comparison_which_says_so(site: Site, visit: Visit) -> None:
    gone, stays = queued(site, "goes"), queued(site, "stays")
    visit.allow(f"{NO_ANSWER}: the server responded with a status of 404")
    page = visit.page
    page.goto(f"/compare?jobs={gone},{stays}")
    results = page.get_by_role("region", name="Results")
    row = results.get_by_role("row").filter(has_text="goes")
    expect(row).to_contain_text("paused")
    delete_elsewhere(site, gone)
    expect(row).to_contain_text("deleted meanwhile")
    expect(results.get_by_role("row").filter(has_text="stays")).to_contain_text("paused")
    page.get_by_role("button", name="Remove goes").click()
    expect(row).to_have_count(0)


def delete_elsewhere(site: Site, job_id: str) -> None:
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    assert site.tenant.http.delete(f"/v1/fine_tuning/jobs/{job_id}").status_code == 200


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


def test_a_slow_answer_is_waited_for_and_the_page_says_so(site: Site, page: Page) -> None:
    file_id = site.tenant.upload()
    held = HeldBack(page, "**/content")
    page.goto(f"/files/{file_id}")
    expect(page.get_by_role("region", name="First rows")).to_contain_text("Reading…")
    held.release()
    expect(page.get_by_role("region", name="First rows")).to_contain_text("answer 0")


def test_jobs_whose_answer_is_slow_are_said_to_be_on_their_way(site: Site, page: Page) -> None:
    job_id = queued(site, "slow")
    asked = re.compile(r"/v1/fine_tuning/jobs(\?|/[^/]+$)")
    for path, shown in (
        ("/jobs", "slow"),
        (f"/jobs/{job_id}", "paused"),
        (f"/new?from={job_id}", "Base model"),
    ):
        held = HeldBack(page, asked)
        page.goto(path)
        expect(page.get_by_text("Reading…").first).to_be_visible()
        held.release()
        expect(page.get_by_text("Reading…")).to_have_count(0)
        expect(page.get_by_text(shown).first).to_be_visible()


def test_what_a_page_waits_for_is_said_to_be_on_its_way(site: Site, page: Page) -> None:
    job_id = site.create_job(suffix="made", validated=True)
    site.finish(job_id)
    job = site.tenant.job(job_id)
    for path, asked, shown in (
        (f"/files/{job['training_file']}", re.compile(r"/v1/files/[^/]+$"), "First rows"),
        (f"/adapters/{job['adapter_id']}", re.compile(r"/v1/adapters/[^/]+$"), "Lineage"),
        (f"/evals/{make_eval(site.tenant)}", re.compile(r"/v1/evals/[^/]+$"), "No run yet."),
        ("/workers", re.compile(r"/v1/workers$"), "Queue"),
    ):
        held = HeldBack(page, asked)
        page.goto(path)
        reading = page.get_by_role("status").filter(has_text="Reading…")
        expect(reading).to_be_visible()
        held.release()
        expect(reading).to_have_count(0)
        expect(page.get_by_text(shown).first).to_be_visible()


def test_a_lineage_that_is_not_read_yet_or_cannot_be_is_not_said_to_be_unknown(
    site: Site, visit: Visit
) -> None:
    job_id = site.create_job(suffix="made", validated=True)
    site.finish(job_id)
    visit.allow(NO_ANSWER)
    page = visit.page
    held = HeldBack(page, "**/manifest.json")
    page.goto(f"/adapters/{site.tenant.job(job_id)['adapter_id']}")
    lineage = page.get_by_role("region", name="Lineage", exact=True)
    expect(lineage.get_by_text("Reading…")).to_have_count(2)
    held.first()[0].fulfill(status=403, json={"error": {"message": "Not for you.", "code": None}})
    expect(lineage.get_by_role("alert")).to_contain_text("Not for you.")
    expect(lineage.get_by_text("could not be read")).to_have_count(2)
    held.release()
    page.reload()
    expect(lineage.get_by_role("link", name="train.jsonl")).to_have_count(2)


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


def test_a_sign_out_that_fails_is_told_and_nobody_is_signed_out(visit: Visit) -> None:
    page = visit.page
    visit.allow(NO_ANSWER)
    page.goto("/workers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    page.route("**/v1/session", lambda route: route.abort())
    page.get_by_role("button", name="Sign out").click()
    dialog = page.get_by_role("dialog", name="Something went wrong")
    expect(dialog).to_contain_text("The service does not answer.")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    page.unroute("**/v1/session")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_older_lines_of_the_log_that_cannot_be_read_are_told(site: Site, visit: Visit) -> None:
    job_id = queued(site, "talks")
    with site.api.sessions.begin() as session:
        for number in range(300):
            line = Event(
                id=new_id("ftevent-"), job_id=job_id, level="info", type="message", message=f"{number}"
            )
            session.add(line)
            session.flush()  # in this order
    visit.allow(NO_ANSWER)
    page = visit.page
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_label("Search the log")).to_have_accessible_description(re.compile("not read yet"))
    log = page.get_by_role("region", name="Log", exact=True)
    page.route("**/events?*after=*", lambda route: route.abort())
    log.get_by_role("button", name="Show older lines").click()
    expect(log).to_contain_text("The service does not answer.")
    page.unroute("**/events?*after=*")
    log.get_by_role("button", name="Show older lines").click()
    expect(log.get_by_role("button", name="Show older lines")).to_have_count(0)
    expect(log).not_to_contain_text("The service does not answer.")
    expect(page.get_by_label("Search the log")).to_have_accessible_description("")


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
