"""The search for words in the list of jobs."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from api.jobs import word_search
from api.jobs.word_search import MOST_WORDS
from tests.fixtures.service.api import Api, Tenant, refusal

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def jobs(api: Api, alice: Tenant, bob: Tenant) -> dict[str, str]:
    """Make jobs, and return their ids by name. Two differ in one word, and one is another project's."""
    support = alice.upload(name="Support_tickets.jsonl")
    poems = alice.upload(name="poems.jsonl")
    made = {
        "support": alice.create_job(training_file=support, suffix="helper", metadata={"team": "Café"}),
        "poems": alice.create_job(training_file=poems, validation_file=support, suffix="poet"),
        "oft": alice.create_job(training_file=poems, model="small-model", adapter={"type": "oft"}),
        "percent": alice.create_job(training_file=poems, metadata={"share": "100%"}),
        "foreign": bob.create_job(suffix="helper"),
    }
    return {name: job["id"] for name, job in made.items()}


def found(tenant: Tenant, jobs: dict[str, str], words: str, **asked: Any) -> list[str]:
    """Return the names of the jobs that are found, in their order."""
    names = {job_id: name for name, job_id in jobs.items()}
    answer = search(tenant, words, **asked)
    assert answer.status_code == 200, answer.text
    return [names[job["id"]] for job in answer.json()["data"]]


def search(tenant: Tenant, words: str, **asked: Any) -> httpx.Response:
    return tenant.http.get(JOBS, params={"search": words, **asked})


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("helper", ["support"]),
        ("HELP", ["support"]),
        ("poems.jsonl", ["percent", "oft", "poems"]),
        ("support_tickets", ["poems", "support"]),
        ("supportXtickets", []),
        ("café", ["support"]),
        ("100%", ["percent"]),
        ("small-model", ["oft"]),
        ("oft", ["oft"]),
        ("t_", ["poems", "support"]),
        ("%", ["percent"]),
        ("tickets poet", ["poems"]),
        ("poet\ttickets ", ["poems"]),
        ("tickets nothing", []),
        ("  ", ["percent", "oft", "poems", "support"]),
    ],
)
def test_every_word_must_occur_somewhere(
    alice: Tenant, jobs: dict[str, str], words: str, names: list[str]
) -> None:
    assert found(alice, jobs, words) == names


def test_an_id_is_found_and_a_part_of_it(alice: Tenant, jobs: dict[str, str]) -> None:
    assert found(alice, jobs, jobs["poems"]) == ["poems"]
    assert found(alice, jobs, jobs["poems"][-12:]) == ["poems"]


def test_what_is_found_is_paged_and_narrowed_like_any_list(alice: Tenant, jobs: dict[str, str]) -> None:
    first = search(alice, "poems", limit=2).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    assert found(alice, jobs, "poems", after=first["last_id"]) == ["poems"]
    assert found(alice, jobs, "poems", **{"metadata[share]": "100%"}) == ["percent"]


def test_a_status_narrows_the_list_and_a_search(alice: Tenant, jobs: dict[str, str]) -> None:
    alice.http.post(f"{JOBS}/{jobs['oft']}/pause")
    assert found(alice, jobs, "", status="paused") == ["oft"]
    assert found(alice, jobs, "small-model", status="paused") == ["oft"]
    assert found(alice, jobs, "small-model", status="queued") == []
    first = search(alice, "", status="queued", limit=2).json()
    assert ([job["status"] for job in first["data"]], first["has_more"]) == (["queued", "queued"], True)
    assert found(alice, jobs, "", status="queued", after=first["last_id"]) == ["support"]
    alice.http.post(f"{JOBS}/{jobs['oft']}/resume")
    assert found(alice, jobs, "", status="paused") == []


def test_a_page_of_a_status_has_a_tag_which_a_job_that_leaves_it_changes(alice: Tenant) -> None:
    job_id = alice.create_job(suffix="leaves")["id"]
    alice.http.post(f"{JOBS}/{job_id}/pause")
    tag = search(alice, "leaves", status="paused").headers["etag"]
    asked = {"params": {"search": "leaves", "status": "paused"}, "headers": {"if-none-match": tag}}
    assert alice.http.get(JOBS, **asked).status_code == 304
    alice.http.post(f"{JOBS}/{job_id}/cancel")
    assert alice.http.get(JOBS, **asked).json()["data"] == []


def test_a_status_that_no_job_has_is_refused_with_those_that_are(alice: Tenant) -> None:
    error = refusal(search(alice, "", status="gone"), 400, "status")
    assert "succeeded" in error["message"]


def test_a_search_has_a_tag_which_holds_until_what_it_finds_changes(
    alice: Tenant, jobs: dict[str, str]
) -> None:
    """The job that is found does not wait: the tag of a waiting one follows its position in the queue."""
    word = f"of{uuid4().hex[:8]}"
    job = alice.create_job(suffix=word)["id"]
    alice.http.post(f"{JOBS}/{job}/pause")
    tag = search(alice, word).headers["etag"]
    asked = {"params": {"search": word}, "headers": {"if-none-match": tag}}
    alice.http.post(f"{JOBS}/{jobs['support']}/pause")
    assert alice.http.get(JOBS, **asked).status_code == 304
    alice.http.post(f"{JOBS}/{job}/cancel")
    assert alice.http.get(JOBS, **asked).status_code == 200


def test_a_search_that_is_too_long_is_refused(alice: Tenant) -> None:
    refusal(search(alice, "x" * 201), 400, "search")
    error = refusal(search(alice, "x " * (MOST_WORDS + 1)), 400, "search", "invalid_value")
    assert f"up to {MOST_WORDS} words" in error["message"]
    assert search(alice, "x " * MOST_WORDS).is_success


def test_a_search_that_takes_too_long_is_stopped_and_says_how_to_narrow_it(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_search, "SEARCH_SECONDS", 0.1)
    with api.sessions() as session:
        session.execute(text("LOCK TABLE jobs"))  # the search waits for it
        answer = search(alice, "poet")
    assert "longer words" in refusal(answer, 400, "search", "search_too_slow")["message"]
    assert search(alice, "poet").is_success
