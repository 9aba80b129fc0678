"""Models that answer the same prompt beside each other, tried as soon as a job has ended."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.chatting import serving_for
from tests.fixtures.service.pages import in_both_themes, violations
from tests.fixtures.service.serving import ServerProcess
from tests.fixtures.service.site import PHONE, Site, Visit
from tests.fixtures.work.completions import allow

ENDLESS = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}  # longer than the model's context
REST = 0.05  # seconds between two tokens, so that an answer can be stopped in its middle
JOB_SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def server(
    service: Api, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with serving_for(service, servers, tmp_path_factory.mktemp("serving")) as serving:
        yield serving.start(rest=REST)


def pane(page: Page, model: str) -> Locator:
    return page.get_by_role("region", name=model, exact=True)


def answer(page: Page, model: str) -> Locator:
    return pane(page, model).get_by_role("region", name=f"Answer of {model}").last


def test_it_begins_with_the_newest_adapter_beside_its_base(site: Site, page: Page) -> None:
    page.goto("/playground")
    panes = page.get_by_role("region").filter(has=page.get_by_role("button", name="Remove"))
    expect(panes).to_have_count(1)  # of a project without an adapter: a base model
    expect(page.get_by_role("region", name="Prompts to begin with").get_by_role("button")).to_have_count(3)
    assert in_both_themes(page) == []
    job_id = site.create_job(epochs=1, validated=True)
    site.finish(job_id)
    tuned = str(site.tenant.job(job_id)["fine_tuned_model"])
    page.goto("/playground")
    expect(pane(page, TINY)).to_be_visible()
    expect(pane(page, tuned)).to_be_visible()
    expect(page.get_by_role("button", name="Ask this")).to_be_enabled()
    for model in (TINY, tuned):
        page.get_by_role("button", name=f"Remove {model}").click()
    expect(page.get_by_text("Add a model above")).to_be_visible()
    expect(panes).to_have_count(0)


def test_a_job_that_has_ended_is_tried_beside_its_base_model(site: Site, page: Page) -> None:
    job_id = site.create_job(epochs=1, validated=True)
    site.finish(job_id)
    tuned = str(site.tenant.job(job_id)["fine_tuned_model"])
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("link", name="Try it", exact=True).first.click()
    page.locator("summary").click()
    page.get_by_label("Most tokens").fill("6")
    page.get_by_role("button", name="Ask this").click()
    expect(page.get_by_label("Temperature")).to_have_value("0")  # the likeliest beside the expected
    for model in (TINY, tuned):
        expect(pane(page, model)).to_contain_text("answer of 6 tokens")
        expect(pane(page, model)).to_contain_text("answer 0")  # what the file expects
        expect(answer(page, model).locator("span[title*='%']")).to_have_count(6)
    assert in_both_themes(page) == []
    page.get_by_label("Prompt", exact=True).fill("And now?")
    page.get_by_label("Prompt", exact=True).press("Enter")
    expect(pane(page, tuned).get_by_text("answer of 6 tokens")).to_have_count(2)
    pane(page, tuned).get_by_role("button", name="Code").click()
    code = page.get_by_role("dialog").get_by_role("region", name="The openai package")
    expect(code).to_contain_text(f'model="{tuned}"')
    expect(code).to_contain_text("And now?")
    page.keyboard.press("Escape")
    page.reload()
    expect(pane(page, tuned)).to_be_visible()
    expect(page.get_by_label("Most tokens")).to_have_value("6")
    page.set_viewport_size(PHONE)
    assert violations(page, {}) == []


def test_from_an_empty_project_by_the_sample_job_to_a_chat_beside_its_base(site: Site, page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("button", name="Run the sample job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sample")
    page.get_by_role("link", name="Try it", exact=True).first.click(timeout=JOB_SECONDS * 1000)
    page.locator("summary").click()
    page.get_by_label("Most tokens").fill("4")
    page.get_by_role("button", name="Ask this").click()
    (job,) = site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]
    assert job["status"] == "succeeded"
    for model in (job["base_model"], job["fine_tuned_model"]):
        expect(pane(page, model)).to_contain_text("answer of 4 tokens")


def test_the_rendered_prompt_is_shown_with_the_ids_of_its_tokens(site: Site, page: Page) -> None:
    page.goto(f"/playground?models={TINY}&max_tokens=2&system=Be+brief.")
    page.get_by_label("Prompt", exact=True).fill("Who?")
    page.get_by_role("button", name="Send").click()
    expect(pane(page, TINY)).to_contain_text("answer of 2 tokens")
    pane(page, TINY).get_by_role("button", name="Tokens").click()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    found = site.tenant.http.post("/v1/tokenize", json={"model": TINY, "messages": messages}).json()
    shown = page.get_by_role("dialog")
    expect(shown).to_contain_text(f"{found['count']} tokens of the model’s 512")
    assert shown.get_by_role("region", name="Rendered prompt").text_content() == found["prompt"]
    expect(shown.get_by_role("region", name="Token ids")).to_have_text(
        json.dumps(found["tokens"], separators=(",", ":"))
    )
    assert in_both_themes(page) == []
    page.set_viewport_size(PHONE)
    assert violations(page, {}) == []


def test_an_answer_is_stopped_and_asked_for_again(site: Site, page: Page) -> None:
    page.goto("/playground")
    page.get_by_label("Model", exact=True).fill(TINY)
    page.get_by_role("button", name="Add").click()
    page.locator("summary").click()
    page.get_by_label("JSON Schema").fill(json.dumps(ENDLESS))
    page.get_by_label("Prompt", exact=True).fill("Go on.")
    page.get_by_role("button", name="Send").click()
    expect(answer(page, TINY)).not_to_have_text("Waiting…")
    pane(page, TINY).get_by_role("button", name="Stop").click()
    expect(pane(page, TINY)).to_contain_text("stopped by you")
    pane(page, TINY).get_by_role("button", name="Retry").click()
    expect(pane(page, TINY)).not_to_contain_text("stopped by you")
    page.get_by_role("button", name="Stop").last.click()
    expect(pane(page, TINY)).to_contain_text("stopped by you")
    page.get_by_role("button", name="Start over").click()
    expect(pane(page, TINY)).not_to_contain_text("Go on.")


def test_an_answer_follows_a_schema_and_a_wrong_schema_is_named(site: Site, page: Page) -> None:
    page.goto(f"/playground?models={TINY}&max_tokens=40&temperature=0")
    page.locator("summary").click()
    page.get_by_label("JSON Schema").fill("{")
    expect(page.get_by_role("alert")).to_contain_text("not JSON")
    page.get_by_label("Prompt", exact=True).fill("Which?")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_label("JSON Schema").fill('{"enum": ["left", "right"]}')
    page.get_by_role("button", name="Send").click()
    expect(answer(page, TINY)).to_have_text(re.compile('^"(left|right)"$'))


def test_a_model_that_is_not_there_says_so_in_its_place(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource")
    page = visit.page
    page.goto(f"/playground?models={TINY},ft:nothing&max_tokens=3")
    page.get_by_label("Prompt", exact=True).fill("Hello")
    page.get_by_role("button", name="Send").click()
    expect(pane(page, TINY)).to_contain_text("answer of 3 tokens")
    expect(pane(page, "ft:nothing").get_by_role("alert")).to_contain_text("ft:nothing")


def test_a_stored_answer_is_rated_and_corrected_for_a_dataset(site: Site, page: Page) -> None:
    allow(site.tenant)
    page.goto(f"/playground?models={TINY}&max_tokens=3&store=true")
    page.get_by_label("Prompt", exact=True).fill("When?")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Bad").click()
    page.get_by_label("What it should have answered").fill("Today.")
    page.get_by_role("button", name="Save").click()
    expect(pane(page, TINY)).to_contain_text("correction saved")
    (stored,) = site.tenant.http.get("/v1/chat/completions").json()["data"]
    assert (stored["rating"], stored["corrected_answer"]) == ("down", "Today.")
