"""Models that answer the same prompt beside each other, tried as soon as a job has ended."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from cli.commands.files.sample import TRAINING_NAME, sample_files
from cli.demo.command import SAMPLE_OPTIONS
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.chatting import serving_for
from tests.fixtures.service.pages import in_both_themes, violations
from tests.fixtures.service.serving import ServerProcess
from tests.fixtures.service.site import PHONE, Site

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


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_from_an_empty_project_by_the_sample_job_to_a_chat_beside_its_base(site: Site, page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("button", name="Run the sample job").dblclick()
    expect(page.get_by_role("heading", level=1)).to_have_text("sample")
    page.get_by_role("link", name="Try it", exact=True).first.click(timeout=JOB_SECONDS * 1000)
    page.locator("summary").click()
    page.get_by_label("Most tokens").fill("4")
    page.get_by_role("button", name="Ask this").click()
    (job,) = site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]
    assert job["status"] == "succeeded"
    assert job["hyperparameters"].items() >= SAMPLE_OPTIONS["method"]["supervised"]["hyperparameters"].items()
    assert job["training"]["learning_rate"] == SAMPLE_OPTIONS["extra_body"]["training"]["learning_rate"]
    content = site.tenant.http.get(f"/v1/files/{job['training_file']}/content").content
    assert content == sample_files()[TRAINING_NAME]
    for model in (job["base_model"], job["fine_tuned_model"]):
        expect(pane(page, model)).to_contain_text("answer of 4 tokens")


@pytest.mark.exhaustive
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
