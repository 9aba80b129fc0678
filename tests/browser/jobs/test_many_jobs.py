"""What is done with several jobs at once, and what the keyboard reaches from anywhere."""

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.pages import NO_ANSWER, HeldBack, in_both_themes, queued
from tests.fixtures.service.site import Site, Visit

SEARCHED = "**/v1/fine_tuning/jobs?*search=*"


def test_ticked_jobs_are_compared(site: Site, page: Page) -> None:
    jobs = [queued(site, f"job-{number}") for number in range(3)]
    page.goto("/jobs")
    page.get_by_label("Select job-0").check()
    expect(page.get_by_role("link", name="job-2")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_label("Select job-2")).to_be_checked()
    bar = page.get_by_role("group", name="Selected jobs")
    expect(bar).to_contain_text("2 selected")
    bar.get_by_role("link", name="Compare").click()
    expect(page).to_have_url(re.compile("/compare"))
    expect(page.get_by_role("radio")).to_have_count(2)
    expect(page.get_by_role("link", name="job-1")).to_have_count(0)
    assert all(
        page.evaluate("location.search").count(job) == at for job, at in zip(jobs, (1, 0, 1), strict=True)
    )


def test_many_are_cancelled_and_what_came_of_each_is_told(site: Site, visit: Visit) -> None:
    first, second, kept = (queued(site, name) for name in ("first", "second", "kept"))
    page = visit.page
    visit.allow("Failed to load resource: the server responded with a status of 400")
    page.goto("/jobs")
    page.get_by_label("Select first").check()
    page.get_by_label("Select second").check()
    page.get_by_role("button", name="Cancel 2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(["second", "first"])
    found = in_both_themes(page)
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{second}/cancel")  # meanwhile, elsewhere
    dialog.get_by_role("button", name="Cancel 2 jobs").click()
    expect(dialog).to_contain_text("1 of 2 jobs cancelled")
    expect(dialog.get_by_role("listitem").filter(has_text="first: cancelled")).to_be_visible()
    expect(dialog.get_by_role("listitem").filter(has_text="second: ")).to_contain_text("already")
    dialog.get_by_role("button", name="Close").click()
    statuses = [site.tenant.job(job)["status"] for job in (first, second, kept)]
    assert statuses == ["cancelled", "cancelled", "paused"]
    assert found + in_both_themes(page) == []


def test_many_are_deleted_after_what_is_lost_is_told(site: Site, visit: Visit) -> None:
    _, ended, kept = (queued(site, name) for name in ("waits", "ended", "kept"))
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{ended}/cancel")
    page = visit.page
    page.goto("/jobs")
    page.get_by_label("Select waits").check()
    page.get_by_label("Select ended").check()
    page.get_by_role("button", name="Delete 2").click()
    dialog = page.get_by_role("dialog", name="Delete 2 jobs?")
    expect(dialog).to_contain_text("curves and checkpoints will be deleted for good")
    expect(dialog).to_contain_text("1 of them is cancelled first")
    found = in_both_themes(page)
    dialog.get_by_role("button", name="Delete 2 jobs").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 of 2 jobs deleted")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("link", name="waits")).to_have_count(0)
    expect(page.get_by_role("group", name="Selected jobs")).to_have_count(0)
    left = [job["id"] for job in site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]]
    assert left == [kept]
    assert found + in_both_themes(page) == []


def test_one_is_deleted_on_its_page_which_leads_to_the_others(site: Site, page: Page) -> None:
    job_id = queued(site, "useless")
    queued(site, "useful")
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog", name="Delete this job?")
    expect(dialog).to_contain_text("will be deleted for good, with its log, curves and checkpoints")
    dialog.get_by_role("button", name="Delete job").click()
    expect(page.get_by_role("link", name="useful")).to_be_visible()
    expect(page.get_by_role("link", name="useless")).to_have_count(0)
    expect(page).to_have_url(re.compile("/jobs$"))


def test_words_are_searched_for_by_the_service_and_stand_in_the_address(site: Site) -> None:
    rows = site.tenant.upload(name="haystack.jsonl")
    needle = queued(site, "needle")
    site.tenant.create_job(model=TINY, training_file=rows, suffix="other", metadata={"team": "search"})
    with site.visit() as visit:
        visit.page.clock.install()
        search_for_words(visit.page, needle)


def search_for_words(page: Page, needle: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "search=" in request.url else None)
    page.goto("/jobs")
    page.get_by_label("Select needle").check()
    field = page.get_by_role("searchbox", name="Search jobs")
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))  # between two keys no time passes
    field.press_sequentially("HAYSTACK team")
    page.clock.resume()
    expect(page.get_by_role("link", name="needle")).to_have_count(0)
    expect(page.get_by_role("link", name="other")).to_be_visible()
    expect(page.get_by_text("1 job found")).to_be_visible()
    assert {url.rpartition("search=")[2] for url in asked} == {"HAYSTACK%20team"}, "not one search"
    expect(page.get_by_role("group", name="Selected jobs")).to_contain_text("1 selected")
    page.reload()
    expect(field).to_have_value("HAYSTACK team")
    expect(page.get_by_role("link", name="needle")).to_have_count(0)
    field.fill("of nothing")
    expect(page.get_by_text("No job matches.")).to_be_visible()
    field.fill(needle)
    expect(page.get_by_role("link", name="needle")).to_be_visible()


def test_the_palette_finds_pages_jobs_and_what_can_be_done_here(site: Site, page: Page) -> None:
    job_id = queued(site, "needle")
    queued(site, "hay")
    page.goto("/compare")
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Page, job or action")
    expect(field).to_be_focused()
    field.fill("needle")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_count(1)
    assert in_both_themes(page) == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("needle")

    page.keyboard.press("Control+k")
    field.fill("cancel")
    page.keyboard.press("ArrowDown")  # what cannot be undone is never chosen beforehand
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Cancel this job?").get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("cancelled").first).to_be_visible()
    assert site.tenant.job(job_id)["status"] == "cancelled"

    page.route(SEARCHED, lambda _: None)
    page.keyboard.press("Control+k")
    field.fill("needle")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.filter(has_text="cancelled job")).to_have_count(1)  # before it is searched for anew
    page.unroute(SEARCHED)
    field.fill("")
    expect(options.filter(has_text="paused job")).to_have_count(1)  # beside all that can be done here
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(field).to_be_hidden()
    page.keyboard.press("Control+k")
    field.fill(job_id)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(job_id))


def test_enter_at_once_opens_what_was_typed_and_never_what_was_found_before(site: Site, page: Page) -> None:
    queued(site, "needle")
    queued(site, "newest")
    held = HeldBack(page, SEARCHED)
    page.goto("/compare")
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.keyboard.press("Control+k")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.filter(has_text="newest")).to_have_count(1)
    page.keyboard.type("needle")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Go to")).to_contain_text("Looking…")
    expect(options).to_have_count(0)
    held.release()
    expect(page.get_by_role("heading", level=1)).to_have_text("needle")
    page.keyboard.press("Control+k")
    page.keyboard.type("worke")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")


def test_a_search_that_comes_to_nothing_says_why(site: Site, visit: Visit) -> None:
    visit.allow(NO_ANSWER)
    page = visit.page
    refusal = {"error": {"message": "Those words are too many.", "code": None, "param": "search"}}
    page.route("**/jobs?*search=refused*", lambda route: route.fulfill(status=400, json=refusal))
    page.route("**/jobs?*search=nobody*", lambda route: route.abort())
    page.goto("/compare")
    page.get_by_role("button", name="Add a job").click()
    dialog = page.get_by_role("dialog", name="Add a job")
    field = dialog.get_by_role("combobox")
    field.fill("refused")
    expect(dialog.get_by_role("alert")).to_contain_text("Those words are too many.")
    expect(dialog).not_to_contain_text("Nothing matches.")
    field.fill("nobody answers")
    expect(dialog).to_contain_text("The service does not answer.")
    expect(dialog).not_to_contain_text("Looking…")
    field.fill("of nothing")
    expect(dialog).to_contain_text("Nothing matches.")


def test_what_is_chosen_by_the_arrows_is_in_sight(site: Site, page: Page) -> None:
    job_id = queued(site, "here")
    page.set_viewport_size({"width": 390, "height": 400})
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("here")
    page.keyboard.press("Control+k")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.filter(has_text="paused job")).to_have_count(1)
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    expect(options.last).to_be_in_viewport(ratio=1)
    page.keyboard.press("ArrowDown")
    expect(options.first).to_be_in_viewport(ratio=1)


def test_an_id_is_told_where_the_browser_lets_no_page_copy(site: Site, page: Page) -> None:
    job_id = queued(site, "here")
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("here")
    page.keyboard.press("Control+k")
    page.keyboard.type("copy")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Something went wrong")).to_contain_text(f"The id is {job_id}.")
