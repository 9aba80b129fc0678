"""A job from an empty form to its adapter on the disk."""

import json
import re
from pathlib import Path
from zipfile import ZipFile

from playwright.sync_api import Page, Route, expect

from core.roles import Role
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import dataset, wait_for
from tests.fixtures.service.pages import downloaded, file_of, in_both_themes, newest_step, settled
from tests.fixtures.service.site import END_SECONDS, Site, Visit

ROWS, EPOCHS, BATCH, RANK = 80, 10, 4, 3
STEPS = ROWS // BATCH * EPOCHS
PLACE = "element => element.getBoundingClientRect().y + scrollY"  # on the page, however far it is scrolled


def fill_in(page: Page, content: bytes) -> None:
    page.goto("/new")
    page.get_by_label("Base model", exact=True).select_option(TINY)
    page.get_by_label("Upload a training file").set_input_files(file_of(content))
    expect(page.get_by_label("Training file", exact=True)).to_have_value(re.compile("file-"))


def test_a_job_is_put_together_watched_and_its_adapter_taken(site: Site, page: Page, tmp_path: Path) -> None:
    fill_in(page, dataset(ROWS))
    page.get_by_label("Name suffix").fill("by-form")
    page.get_by_label("Rank r", exact=True).fill(str(RANK))
    page.get_by_label("n_epochs").fill(str(EPOCHS))
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("batch_size").fill(str(BATCH))
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text(f'"r": {RANK}')
    page.reload()
    expect(review).to_contain_text(f'"r": {RANK}')
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("rows.jsonl")
    review.get_by_role("button", name="Create job").dblclick()

    expect(page.get_by_role("heading", level=1)).to_have_text("by-form")
    page.get_by_role("button", name="Table of Loss").click()
    wait_for(lambda: newest_step(page) > 1, END_SECONDS)
    page.reload()
    expect(page.get_by_text("The job has ended")).to_be_visible()
    assert [int(row["step"]) for row in downloaded(page, tmp_path)] == list(range(1, STEPS + 1))

    with page.expect_download() as download:
        page.get_by_role("link", name="Adapter", exact=True).click()
    download.value.save_as(tmp_path / "adapter.zip")
    with ZipFile(tmp_path / "adapter.zip") as adapter:
        assert json.loads(adapter.read("adapter_config.json"))["r"] == RANK
    assert len(site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]) == 1, "a double click makes one"


def test_a_recipe_fills_in_the_method_and_leaves_the_files(visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 400")  # chats are no pairs
    page = visit.page
    fill_in(page, dataset(12))
    recipes = page.get_by_role("region", name="Recipes")
    recipes.get_by_role("button", name="Preferences").click()
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text('"type": "dpo"')
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("rows.jsonl")
    recipes.get_by_role("button", name="Classification").click()
    expect(recipes.get_by_role("button", name="Classification")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Rank r", exact=True)).to_have_value("8")
    expect(review).not_to_contain_text("dpo")
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("button", name="Cancel job")).to_be_visible()


def test_the_chosen_file_says_what_the_job_takes_and_a_tenth_of_it_is_held_out(
    site: Site, page: Page
) -> None:
    fill_in(page, dataset(40))
    facts = page.get_by_label("The training file")
    expect(facts).to_contain_text("40 chat rows")
    expect(facts).to_contain_text(re.compile(r"Tokens to train on\s*(about )?\d"))
    expect(facts).to_contain_text(re.compile(r"Steps\s*(about )?\d"))
    page.get_by_text("The first 3 rows").click()
    expect(page.get_by_text("answer 2", exact=True)).to_be_visible()
    page.get_by_label("Hold out a tenth").check()
    expect(page.get_by_role("region", name="Review")).to_contain_text('"validation_split": 0.1')
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("button", name="Cancel job")).to_be_visible()
    assert site.tenant.job(page.url.rpartition("/")[2])["validation_split"] == 0.1


def test_an_adapter_is_found_by_words_among_its_group(page: Page) -> None:
    page.goto("/new")
    adapter = page.get_by_label("Adapter adapter.type")
    expect(adapter.locator("optgroup[label=Rotations] option")).to_have_count(4)
    page.get_by_role("searchbox", name="Search the adapters").fill("boft")
    expect(adapter.locator("optgroup option")).to_have_count(1)
    adapter.select_option("boft")
    page.get_by_role("searchbox", name="Search the adapters").fill("")
    expect(adapter).to_have_value("boft")


def test_the_learning_rate_and_its_multiplier_are_explained_as_one(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("Learning rate learning_rate", exact=True).fill("0.001")
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("learning_rate_multiplier").fill("2")
    expect(page.get_by_label("Learning rate learning_rate", exact=True)).to_have_accessible_description(
        re.compile("multiplier 2 under Advanced, the job trains at 0.002")
    )


def test_the_training_rows_get_variants_and_a_share_that_is_held_out(site: Site, page: Page) -> None:
    fill_in(page, dataset(40))
    page.get_by_text("Advanced", exact=True).click()
    rows = page.get_by_role("group", name="Training rows")
    rows.get_by_label("validation_split").fill("8")
    expect(page.get_by_label("Hold out 8 rows")).to_be_checked()
    rows.get_by_label("copies").fill("2")
    rows.get_by_label("typing_noise").fill("0.1")
    rows.get_by_label("few_shot_order").check()
    rows.get_by_label("user_case").check()
    rows.get_by_label("system_prompts").fill("Be brief, please.\nBe kind.")
    rows.get_by_label("label_order").fill("very good\nvery bad")
    expect(rows).to_contain_text("Share of the longer words")
    asked = {
        "copies": 2,
        "typing_noise": 0.1,
        "few_shot_order": True,
        "user_case": True,
        "system_prompts": ["Be brief, please.", "Be kind."],
        "label_order": ["very good", "very bad"],
    }
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text('"label_order"')
    assert in_both_themes(page) == []
    review.get_by_role("button", name="CLI").click()
    expect(review).to_contain_text("--set augmentation.copies=2")
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("button", name="Cancel job")).to_be_visible()
    job_id = page.url.rpartition("/")[2]
    job = site.tenant.job(job_id)
    assert (job["validation_split"], job["augmentation"]) == (8, asked)


def test_variants_of_no_kind_are_refused_at_their_group(visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 400")
    page = visit.page
    fill_in(page, dataset(12))
    page.get_by_text("Advanced", exact=True).click()
    rows = page.get_by_role("group", name="Training rows")
    rows.get_by_label("copies").fill("3")
    page.get_by_role("button", name="Create job").click()
    page.get_by_role("alert").get_by_role("button", name="augmentation").click()
    expect(rows).to_be_focused()


def test_the_address_that_one_would_guess_leads_to_the_form(page: Page) -> None:
    page.goto("/jobs/new?model=tiny")
    page.wait_for_url("**/new?model=tiny")
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    assert "/jobs/" not in page.url


def test_a_name_with_a_space_is_told_in_words_what_a_name_may_have(page: Page) -> None:
    page.goto("/new")
    name = page.get_by_role("textbox", name="Name suffix")
    name.fill("my first job")
    name.blur()
    allowed = page.get_by_text("letters, digits, dots, dashes and underscores, without spaces")
    expect(allowed.first).to_be_visible()
    expect(page.get_by_text("[A-Za-z0-9")).to_have_count(0)


def test_a_wrong_value_moves_nothing_on_the_page(page: Page) -> None:
    page.goto("/new")
    page.get_by_text("Advanced", exact=True).click()
    settled(page)
    for name, wrong in (("Rank r", "none"), ("n_epochs", "0"), ("batch_size", "many"), ("warmup_ratio", "2")):
        field = page.get_by_label(name, exact=name == "Rank r")
        below = page.get_by_label("Seed", exact=False).last
        before = below.evaluate(PLACE)
        field.fill(wrong)
        field.press("Tab")
        expect(field).to_have_accessible_description(re.compile("It must be"))
        assert below.evaluate(PLACE) == before, name


def test_a_click_from_a_wrong_value_hits_what_was_under_the_pointer(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("n_epochs").fill("0")
    settled(page)
    adapter = page.get_by_role("searchbox", name="Search the adapters")
    box = adapter.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    expect(page.get_by_label("n_epochs")).not_to_be_focused()
    expect(page.get_by_label("n_epochs")).to_have_attribute("aria-invalid", "false")
    page.mouse.up()
    expect(adapter).to_be_focused()
    expect(page.get_by_label("n_epochs")).to_have_attribute("aria-invalid", "true")


def test_a_sweep_is_put_together_and_its_job_tries_each_combination(site: Site, page: Page) -> None:
    fill_in(page, dataset(12))
    page.get_by_label("Upload a validation file").set_input_files(file_of(dataset(8), "held-out.jsonl"))
    expect(page.get_by_label("Validation file", exact=True)).to_have_value(re.compile("file-"))
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Try several values").check()
    expect(page.get_by_text("Name values to try")).to_be_visible()
    page.get_by_label("Rank adapter.r", exact=True).fill("2, 4")
    page.get_by_label("Modules to adapt adapter.target_modules", exact=True).fill("all-linear, q_proj+v_proj")
    expect(page.get_by_text("4 candidates", exact=True)).to_be_visible()
    page.get_by_label("TensorBoard").check()
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text("POST /v1/fine_tuning/sweeps")
    review.get_by_role("button", name="CLI").click()
    expect(review).to_contain_text("tunery sweeps create")
    expect(review).to_contain_text("--try adapter.r=2,4")
    assert in_both_themes(page) == []
    page.reload()
    expect(page.get_by_label("Rank adapter.r", exact=True)).to_have_value("2, 4")
    page.get_by_role("button", name="Create sweep").click()
    ranking = page.get_by_role("region", name="Ranking of the candidates")
    expect(ranking.get_by_role("row")).to_have_count(5)
    job_id = page.url.rpartition("/")[2]
    assert [each["type"] for each in site.tenant.job(job_id)["integrations"]] == ["tensorboard"]

    page.goto(f"/new?from={job_id}")
    expect(page.get_by_label("Rank adapter.r", exact=True)).to_have_value("2, 4")
    page.get_by_role("link", name="Train only the winner").click()
    expect(page.get_by_label("Try several values")).not_to_be_checked()
    expect(page.get_by_role("button", name="Create job")).to_be_visible()


def test_a_tracker_is_chosen_with_what_it_needs(site: Site, page: Page) -> None:
    admin = site.tenant.api.tenant(site.tenant.project, Role.ADMIN)
    assert admin.http.post("/v1/secrets", json={"name": "WANDB_API_KEY", "value": "k" * 40}).is_success
    fill_in(page, dataset(12))
    page.get_by_text("Advanced", exact=True).click()
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
    page.get_by_label("Name suffix").fill("only-one")
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
    expect(page.get_by_label("Name suffix")).to_have_value("only-one")
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
