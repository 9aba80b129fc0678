"""What somebody sees and does who follows a job."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.service.api import wait_for
from tests.fixtures.service.pages import downloaded, newest_step
from tests.fixtures.service.site import END_SECONDS, Site

# Of a PNG: its first and its last pixel's colour, and then all.
COLOURS_OF = """
async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const {data} = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  const colours = Array.from({length: data.length / 4}, (_, at) => data.slice(4 * at, 4 * at + 3).join());
  return [colours[0], colours.at(-1), ...new Set(colours)];
}
"""

MISSED = 100  # steps: some seconds, in which a page that followed would have shown some of them
HIDE = """
(hidden) => {
  const state = hidden ? "hidden" : "visible";
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
  document.dispatchEvent(new Event("visibilitychange", {bubbles: true}));
}
"""


@pytest.mark.exhaustive
def test_a_curve_grows_and_a_reload_in_the_middle_loses_no_step(
    site: Site, page: Page, tmp_path: Path
) -> None:
    page.goto(f"/jobs/{site.create_long_job()}")
    page.get_by_role("button", name="Table of Loss").click()
    before = newest_step(page)
    wait_for(lambda: newest_step(page) > before + 10, END_SECONDS)
    page.reload()
    expect(page.get_by_role("img", name="Loss by step")).to_be_visible()
    page.get_by_role("button", name="Table of Loss").click()
    wait_for(lambda: newest_step(page) > before + 20, END_SECONDS)
    found = downloaded(page, tmp_path)
    assert [int(row["step"]) for row in found] == list(range(1, len(found) + 1))
    assert len(found) > before + 20
    assert all(float(row["train_loss"]) > 0 for row in found)


def test_the_weights_of_each_checkpoint_can_be_taken(site: Site, page: Page, tmp_path: Path) -> None:
    job_id = site.create_job(epochs=2, rows=12, adapter={"r": 2})
    site.finish(job_id)
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("link", name="Download the weights")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the weights at step 3").click()
    download.value.save_as(tmp_path / "checkpoint.zip")
    with ZipFile(tmp_path / "checkpoint.zip") as weights:
        assert sorted(weights.namelist()) == ["adapter_config.json", "adapter_model.safetensors"]
        assert json.loads(weights.read("adapter_config.json"))["r"] == 2


@pytest.mark.exhaustive
def test_a_chart_has_time_or_tokens_as_x_and_is_saved_as_a_picture_of_the_theme(
    site: Site, page: Page, tmp_path: Path
) -> None:
    job_id = site.create_job(validated=True)
    site.finish(job_id)
    page.goto(f"/jobs/{job_id}?x=time")
    expect(page.get_by_role("img", name="Loss by time")).to_be_visible()
    page.get_by_label("x axis").select_option("tokens")
    expect(page.get_by_role("img", name="Trainer's memory by tokens")).to_be_visible()
    page.reload()
    for theme, surface, training in (
        ("light", "255,255,255", "36,86,196"),
        ("dark", "22,25,29", "143,178,255"),
    ):
        page.emulate_media(color_scheme=cast(Any, theme))
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG of Loss", exact=True).click()
        assert download.value.suggested_filename == f"{job_id}-loss.png"
        download.value.save_as(tmp_path / f"{theme}.png")
        picture = b64encode((tmp_path / f"{theme}.png").read_bytes()).decode()
        first, last, *colours = page.evaluate(COLOURS_OF, picture)
        assert first == last == surface
        assert training in colours


def test_a_job_is_paused_resumed_and_cancelled(site: Site, page: Page) -> None:
    job_id = site.create_long_job()
    page.goto(f"/jobs/{job_id}")
    head = page.locator("header", has=page.get_by_role("heading", level=1))
    expect(head.get_by_text("running", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(head.get_by_text("paused", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(head.get_by_text("running", exact=True)).to_be_visible()
    page.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    assert site.tenant.job(job_id)["status"] in ("queued", "running")
    page.get_by_role("button", name="Cancel job").click()
    dialog.get_by_role("button", name="Cancel job").click()
    expect(head.get_by_text("cancelled", exact=True).first).to_be_visible()
    expect(page.get_by_text("The job has ended")).to_be_visible()
    assert site.tenant.job(job_id)["status"] == "cancelled"


@pytest.mark.exhaustive
def test_a_hidden_tab_asks_for_nothing_and_catches_up_once_it_is_seen(site: Site) -> None:
    job_id = site.create_long_job()
    with site.visit() as visit:
        page = visit.page
        page.clock.install()
        page.goto(f"/jobs/{job_id}")
        expect(page.get_by_text("Following")).to_be_visible()
        page.get_by_role("button", name="Table of Loss").click()
        page.evaluate(HIDE, True)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        made = site.tenant.job(job_id)["progress"]["step"]
        wait_for(lambda: site.tenant.job(job_id)["progress"]["step"] > made + MISSED, END_SECONDS)
        page.clock.fast_forward("05:00")
        assert newest_step(page) <= made
        assert asked == []
        page.evaluate(HIDE, False)
        expect(page.get_by_text("Following")).to_be_visible()
        wait_for(lambda: newest_step(page) > made + MISSED, END_SECONDS)
