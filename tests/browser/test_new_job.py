"""A job from an empty form to its adapter on the disk."""

import json
import re
from pathlib import Path
from zipfile import ZipFile

from playwright.sync_api import Page, Route, expect

from tests.fixtures.api import dataset, wait_for
from tests.fixtures.pages import downloaded, file_of, in_both_themes, newest_step
from tests.fixtures.site import Site, Visit
from tests.fixtures.tiny import TINY

ROWS, EPOCHS, BATCH, RANK = 80, 10, 4, 3
STEPS = ROWS // BATCH * EPOCHS


def fill_in(page: Page, content: bytes) -> None:
    page.goto("/new")
    page.get_by_label("Base model", exact=True).select_option(TINY)
    page.get_by_label("Upload a training file").set_input_files(file_of(content))
    expect(page.get_by_label("Training file", exact=True)).to_have_value(re.compile("file-"))


def test_a_job_is_put_together_watched_and_its_adapter_taken(site: Site, page: Page, tmp_path: Path) -> None:
    fill_in(page, dataset(ROWS))
    page.get_by_label("Suffix").fill("by-form")
    page.get_by_label("r", exact=True).fill(str(RANK))
    page.get_by_label("n_epochs").fill(str(EPOCHS))
    page.get_by_label("batch_size").fill(str(BATCH))
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text(f'"r": {RANK}')
    page.reload()
    expect(review).to_contain_text(f'"r": {RANK}')
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("rows.jsonl")
    review.get_by_role("button", name="Create job").dblclick()

    expect(page.get_by_role("heading", level=1)).to_have_text("by-form")
    page.get_by_role("button", name="Table of Loss").click()
    wait_for(lambda: newest_step(page) > 1, 60)
    page.reload()
    expect(page.get_by_text("The job has ended")).to_be_visible()
    assert [int(row["step"]) for row in downloaded(page, tmp_path)] == list(range(1, STEPS + 1))

    with page.expect_download() as download:
        page.get_by_role("link", name="Adapter", exact=True).click()
    download.value.save_as(tmp_path / "adapter.zip")
    with ZipFile(tmp_path / "adapter.zip") as adapter:
        assert json.loads(adapter.read("adapter_config.json"))["r"] == RANK
    assert len(site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]) == 1, "a double click makes one"


def test_a_sweep_is_put_together_and_its_job_tries_each_combination(site: Site, page: Page) -> None:
    fill_in(page, dataset(12))
    page.get_by_label("Upload a validation file").set_input_files(file_of(dataset(8), "held-out.jsonl"))
    expect(page.get_by_label("Validation file", exact=True)).to_have_value(re.compile("file-"))
    page.get_by_label("Try several values").check()
    expect(page.get_by_text("Name values to try")).to_be_visible()
    page.get_by_label("adapter.r", exact=True).fill("2, 4")
    page.get_by_label("adapter.target_modules", exact=True).fill("all-linear, q_proj+v_proj")
    expect(page.get_by_text("4 candidates", exact=True)).to_be_visible()
    page.get_by_label("TensorBoard").check()
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text("POST /v1/fine_tuning/sweeps")
    review.get_by_role("button", name="CLI").click()
    expect(review).to_contain_text("tunery sweeps create")
    expect(review).to_contain_text("--try adapter.r=2,4")
    assert in_both_themes(page) == []
    page.reload()
    expect(page.get_by_label("adapter.r", exact=True)).to_have_value("2, 4")
    page.get_by_role("button", name="Create sweep").click()
    ranking = page.get_by_role("region", name="Ranking of the candidates")
    expect(ranking.get_by_role("row")).to_have_count(5)
    job_id = page.url.rpartition("/")[2]
    assert [each["type"] for each in site.tenant.job(job_id)["integrations"]] == ["tensorboard"]

    page.goto(f"/new?from={job_id}")
    expect(page.get_by_label("adapter.r", exact=True)).to_have_value("2, 4")
    page.get_by_role("link", name="Train only the winner").click()
    expect(page.get_by_label("Try several values")).not_to_be_checked()
    expect(page.get_by_role("button", name="Create job")).to_be_visible()


def test_a_tracker_is_chosen_with_what_it_needs(site: Site, page: Page) -> None:
    fill_in(page, dataset(12))
    page.get_by_label("Weights & Biases").check()
    page.get_by_role("button", name="Create job").click()
    alert = page.get_by_role("alert")
    alert.get_by_role("button", name="integrations.0.wandb.project").click()
    field = page.get_by_label("project (required)")
    expect(field).to_be_focused()
    field.fill("support-bot")
    expect(page.get_by_role("region", name="Review")).to_contain_text('"project": "support-bot"')
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("button", name="Cancel job")).to_be_visible()
    job_id = page.url.rpartition("/")[2]
    assert site.tenant.job(job_id)["integrations"][0]["wandb"]["project"] == "support-bot"


def test_what_only_the_service_knows_is_told_at_its_field(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 400")
    page = visit.page
    fill_in(page, dataset(12))
    page.get_by_role("button", name="auto", exact=True).first.click()
    expect(page.get_by_role("region", name="Review")).to_contain_text('"r": "auto"')
    page.get_by_role("button", name="Create job").click()
    alert = page.get_by_role("alert")
    expect(alert).to_be_focused()
    field = page.get_by_label("Validation file", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("Candidates are compared"))
    alert.get_by_role("button", name="validation_file").click()
    expect(field).to_be_focused()
    assert site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_a_file_that_is_refused_lists_its_lines_and_is_not_chosen(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 400")
    page = visit.page
    page.goto("/new")
    broken = dataset(12) + b'{"messages": []}\n'
    page.get_by_label("Upload a training file").set_input_files(file_of(broken, "broken.jsonl"))
    expect(page.get_by_role("alert")).to_contain_text("broken.jsonl was not uploaded")
    expect(page.get_by_role("alert").get_by_role("listitem").first).to_contain_text("Line 13")
    expect(page.get_by_label("Training file", exact=True)).to_have_value("")
    page.get_by_label("Upload a training file").set_input_files(file_of(dataset(12), "mended.jsonl"))
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("mended.jsonl")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_job_whose_answer_was_lost_is_created_once(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource")
    page = visit.page
    fill_in(page, dataset(12))
    page.get_by_label("Suffix").fill("only-one")
    asked = 0

    def lose_the_first_answer(route: Route) -> None:
        nonlocal asked
        if route.request.method != "POST":
            route.fallback()
            return
        asked += 1
        if asked == 1:
            route.fetch()  # it arrives and is done
            route.abort()
        else:
            route.fallback()

    page.route("**/v1/fine_tuning/jobs", lose_the_first_answer)
    page.get_by_role("button", name="Create job").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The service does not answer.")
    expect(alert).to_contain_text("the same request makes no second job")
    expect(page.get_by_label("Suffix")).to_have_value("only-one")
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("only-one")
    assert asked == 2
    assert len(site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]) == 1


def test_a_file_on_a_broken_line_is_said_not_to_be_taken_and_sent_again(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource")
    page = visit.page
    page.goto("/new")
    page.get_by_label("Base model", exact=True).select_option(TINY)
    page.context.set_offline(True)
    page.get_by_label("Upload a training file").set_input_files(file_of(dataset(12)))
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    page.context.set_offline(False)
    page.get_by_label("Upload a training file").set_input_files(file_of(dataset(12)))
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("rows.jsonl")
    assert len(site.tenant.http.get("/v1/files").json()["data"]) == 1
