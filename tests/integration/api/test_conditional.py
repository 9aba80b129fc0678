"""Polls with If-None-Match: the answer is 304 while nothing has changed, and 200 as soon as something has."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from core.jobs import lifecycle
from core.jobs.lifecycle import Lease, Progress
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for

JOBS = "/v1/fine_tuning/jobs"


def poll(tenant: Tenant, url: str, tag: str) -> httpx.Response:
    return tenant.http.get(url, headers={"if-none-match": tag})


def settled(tenant: Tenant, url: str) -> str:
    """Return the tag, as soon as the positions in the queue are known."""

    def tag_with_places() -> str | None:
        answer = tenant.http.get(url)
        jobs = answer.json().get("data", [answer.json()])
        waiting = [job["progress"] for job in jobs if job["status"] == "queued"]
        return None if any(at["queue_position"] is None for at in waiting) else answer.headers["etag"]

    tag: str = wait_for(tag_with_places)
    return tag


@pytest.mark.parametrize("url", [JOBS, JOBS + "/{job}"])
def test_what_has_not_changed_is_not_sent_again(alice: Tenant, url: str) -> None:
    url = url.format(job=alice.create_job()["id"])
    tag = settled(alice, url)
    for held in (tag, f'"other", {tag}', "*"):
        answer = poll(alice, url, held)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert poll(alice, url, '"other"').json() == alice.http.get(url).json()


def advance(api: Api, lease: Lease) -> None:
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", step=1, total_steps=9, seconds_left=5.0))


def test_every_change_of_a_job_is_seen(api: Api, alice: Tenant, adapter_folder: Path) -> None:
    job_id = alice.create_job()["id"]
    jobs = alice.openai.fine_tuning.jobs
    leases: list[Lease] = []
    changes: list[Callable[[], object]] = [
        lambda: jobs.pause(job_id),
        lambda: jobs.resume(job_id),
        lambda: leases.append(api.claim(job_id)),
        lambda: advance(api, leases[0]),
        lambda: jobs.pause(job_id),
        lambda: jobs.resume(job_id),
        lambda: api.finish(leases[0], adapter_folder),
    ]
    for number, change in enumerate(changes):
        held = {url: settled(alice, url) for url in (f"{JOBS}/{job_id}", f"{JOBS}?limit=1")}
        change()
        for url, tag in held.items():
            assert poll(alice, url, tag).status_code == 200, (number, url)
    assert alice.job(job_id)["status"] == "succeeded"


def test_a_place_in_the_queue_that_changes_is_seen(api: Api, alice: Tenant) -> None:
    first, second = alice.create_job()["id"], alice.create_job()["id"]
    url = f"{JOBS}/{second}"
    tag = settled(alice, url)
    before = alice.job(second)["progress"]["queue_position"]
    alice.openai.fine_tuning.jobs.cancel(first)
    wait_for(lambda: poll(alice, url, tag).status_code == 200)
    assert alice.job(second)["progress"]["queue_position"] == before - 1


def test_a_tag_opens_nothing_of_another_project(alice: Tenant, bob: Tenant) -> None:
    job_id = alice.create_job()["id"]
    tag = alice.http.get(f"{JOBS}/{job_id}").headers["etag"]
    for held in (tag, "*"):
        refusal(poll(bob, f"{JOBS}/{job_id}", held), 404, "fine_tuning_job_id", "fine_tune_not_found")
    assert poll(bob, JOBS, settled(alice, JOBS)).json()["data"] == []
