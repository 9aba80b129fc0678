"""Pictures of every page of the dashboard, from a real run of a tiny model: light, dark, wide, on a phone.

    python -m tests.browser.pictures        # writes docs/images/dashboard/*.png

It starts a service of its own, as the tests do, and needs Chromium and the built dashboard.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from cli.embedded import EmbeddedServers
from core.evals.results import Record
from core.roles import Role
from core.work import lease as leases
from tests.fixtures.clients.chromium import chromium
from tests.fixtures.models.tiny import OTHER
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.servers import server_folder
from tests.fixtures.service.site import DESK, PHONE, Site, service_on, sign_in
from tests.fixtures.work import compositions
from tests.fixtures.work.evals_api import EVALS, answered, finish_run, measured

FOLDER = REPOSITORY / "docs" / "images" / "dashboard"
PROJECT = "support-bot"
TOPICS = ("an order", "a refund", "a parcel", "an invoice", "a password", "an address")
DEADLINE_MS = 120_000
SOME_STEPS = 100  # of the job that trains, so that there is something to see of it


def rows(count: int, seed: int) -> bytes:
    random_ = random.Random(seed)
    lines = []
    for number in range(count):
        topic = random_.choice(TOPICS)
        messages = [
            {"role": "user", "content": f"I have a question about {topic}, number {number}."},
            {"role": "assistant", "content": f"Gladly. What would you like to know about {topic}?"},
        ]
        lines.append(json.dumps({"messages": messages}) + "\n")
    return "".join(lines).encode()


def fill(site: Site) -> dict[str, str]:
    """A project in use. Returns the path of each page by its name."""
    files = {
        "training_file": site.tenant.upload(rows(160, 1), name="support-chats.jsonl"),
        "validation_file": site.tenant.upload(rows(40, 2), name="support-chats-held-out.jsonl"),
    }
    ended = [
        site.create_job(
            suffix=f"support-r{rank}",
            epochs=3,
            adapter={"type": "lora", "r": rank},
            training={"learning_rate": rate, "eval_samples": 2},
            metadata={"team": "support"},
            evaluate={},
            **files,
        )
        for rank, rate in ((4, 3e-3), (8, 1e-2), (16, 3e-2))
    ]
    search = site.create_job(
        suffix="support-auto", epochs=4, adapter={"r": "auto"}, training={"learning_rate": 1e-2}, **files
    )
    site.create_job(suffix="support-dora", epochs=1, adapter={"type": "lora", "use_dora": True}, **files)
    site.finish(*ended, search)
    evals = [judge(site, job_id, better) for job_id, better in zip(ended, (8, 20, 14), strict=True)]
    parts = [site.tenant.job(job_id) for job_id in ended[:2]]
    compose(site, parts, files["validation_file"])
    site.create_job(
        suffix="support-next", model=site.tenant.job(ended[1])["fine_tuned_model"], epochs=1, **files
    )
    long = {"training_file": site.tenant.upload(rows(4000, 3), name="tickets-2026.jsonl"), "epochs": 10}
    running = site.create_job(suffix="tickets", validation_file=files["validation_file"], **long)
    cancelled = site.create_job(suffix="tickets-try", model=OTHER, **long)
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{cancelled}/cancel")
    paused = site.create_job(suffix="tickets-later", **long)
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{paused}/pause")
    site.tenant.openai.webhooks.create(
        name="tracker", url="https://tracker.example.com/tunery", event_types=["fine_tuning.job.succeeded"]
    )
    wait_for(lambda: site.tenant.job(running)["progress"]["step"] > SOME_STEPS, DEADLINE_MS / 1000)
    adapter = site.tenant.job(ended[1])["adapter_id"]
    return {
        "jobs": "/jobs",
        "job": f"/jobs/{ended[1]}",
        "samples": f"/jobs/{ended[1]}",
        "candidates": f"/jobs/{search}",
        "new-job": f"/new?from={ended[1]}",
        "compare": f"/compare?jobs={','.join(ended)}",
        "files": "/files",
        "file": f"/files/{files['training_file']}",
        "adapters": "/adapters",
        "adapter": f"/adapters/{adapter}",
        "compose": f"/compose?adapters={','.join(part['adapter_id'] for part in parts)}",
        "evals": "/evals",
        "eval": f"/evals/{evals[1]}",
        "guide": "/guide/how-to/chat",
        "workers": "/workers",
        "settings": "/settings",
        "webhooks": "/settings?part=webhooks",
        "secrets": "/settings?part=secrets",
        "usage": "/settings?part=usage",
        "audit": "/settings?part=audit",
    }


def judge(site: Site, job_id: str, better: int) -> str:
    """Finish the runs of a job's evals, of which the tuned model answers `better` rows of 40 as expected.

    Returns the id of the eval of its result.
    """
    result = ""
    for judging in site.tenant.http.get(EVALS, params={"job_id": job_id}).json()["data"]:
        is_result = judging["name"].startswith("Evaluation")
        result = judging["id"] if is_result else result
        runs = site.tenant.http.get(f"{EVALS}/{judging['id']}/runs").json()["data"]
        for run in runs:
            right = better if is_result and run["metadata"]["model"] == "tuned" else 3
            finish_run(site.api, run["id"], records := answers(right), measured(records))
    return result


def compose(site: Site, parts: Sequence[dict[str, Any]], searched: str) -> None:
    """Compose the results of these jobs twice: with weights that a search finds, and without an end."""
    weights = {str(part["fine_tuned_model"]): 1.0 for part in parts}
    search = {"files": [searched], "rows": 8, "trials": 4}
    found = compositions.started(site.tenant, weights, method="cat", suffix="support-both", search=search)
    compositions.work_on(site.api, compositions.take(site.api, found))
    open_one = compositions.started(site.tenant, weights, method="ties_svd", suffix="support-pruned")
    lease = compositions.take(site.api, open_one)
    with site.api.sessions.begin() as session:
        leases.renew(session, lease, "composing layer 9 of 21", 0.43)


def answers(right: int) -> list[Record]:
    """Return 40 rows of which so many are answered as expected, in turn."""
    found = []
    for row in range(40):
        topic = TOPICS[row % len(TOPICS)]
        expected = f"Gladly. What would you like to know about {topic}?"
        is_right = row * right // 40 != (row + 1) * right // 40
        text = expected if is_right else f"I know nothing about {topic}."
        nats = (0.3 if is_right else 2.4) + row * (right + 4) % 7 / 10
        record = answered(row, text, nats, expected)
        prompt = [{"role": "user", "content": f"I have a question about {topic}, number {row}."}]
        record.item["input"] = prompt
        found.append(record.model_copy(update={"sample": {**(record.sample or {}), "input": prompt}}))
    return found


# What a page shows once it has all that it reads.
READY: dict[str, str] = {
    "sign-in": "Sign in",
    "jobs": "support-r4",
    "job": "sha256",
    "samples": "sha256",
    "candidates": "sha256",
    "new-job": "Left to the service",
    "compare": "Settings that differ",
    "files": "tickets-2026.jsonl",
    "file": "Gladly.",
    "adapters": "support-r4",
    "adapter": "path/to/this/folder",
    "compose": "support-pruned",
    "evals": "succeeded",
    "eval": "Prompt of row",
    "guide": "Chat with what was trained",
    "workers": "Trains now",
    "settings": "Revoke",
    "webhooks": "tracker.example.com",
    "secrets": "Set secret",
    "usage": "the last 30 days",
    "audit": "webhook",
}

# Of a long page, the part that is wanted.
PARTS = {"samples": "Answers", "candidates": "Candidates"}


def take(browser: Browser, site: Site, paths: dict[str, str], folder: Path) -> None:
    for device, viewport in (("desk", DESK), ("phone", PHONE)):
        options = {"viewport": viewport, "reduced_motion": "reduce"}
        with browser.new_context(base_url=site.api.url, **options) as context:
            page = context.new_page()
            picture(page, "sign-in", "/jobs", device, folder)
            sign_in(context, site.tenant)
            for name, path in paths.items():
                picture(page, name, path, device, folder)


def picture(page: Page, name: str, path: str, device: str, folder: Path) -> None:
    page.goto(path)
    if path.startswith("/jobs/"):  # what stands far below is read when it comes near the screen
        page.get_by_role("heading", name="Files", exact=True).scroll_into_view_if_needed()
    expect(page.get_by_text(READY[name]).filter(visible=True).first).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.evaluate("scrollTo(0, 0)")
    if part := PARTS.get(name):
        page.get_by_role("heading", name=part, exact=True).evaluate("heading => heading.scrollIntoView()")
    in_both_themes(page, name, device, folder)


def in_both_themes(page: Page, name: str, device: str, folder: Path) -> None:
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.screenshot(path=folder / f"{name}-{device}-{theme}.png", animations="disabled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(READY), help=f"of {', '.join(READY)}")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder to write to")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=DEADLINE_MS)
    with (
        server_folder() as home,
        EmbeddedServers(home / "home") as servers,
        tempfile.TemporaryDirectory() as models,
        service_on(servers, Path(models)) as api,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium()) as browser,
    ):
        site = Site(api, api.tenant(PROJECT, Role.ADMIN), browser)
        only = given.only.split(",")
        paths = {name: path for name, path in fill(site).items() if name in only}
        take(browser, site, paths, given.folder)
        for job in site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]:
            site.tenant.http.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")


if __name__ == "__main__":
    main()
