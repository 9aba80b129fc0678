"""Polls that come together share one query, and each gets the answer of its own job."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.admission.fair_share import POLLS_AT_ONCE
from api.jobs import shared_polls
from api.jobs.shared_polls import Polled, SharedPolls
from core.database import create_database, reading_sessions
from core.tables import Job
from tests.fixtures.faults.database import ChangingSessions
from tests.fixtures.service.api import Api, Tenant

JOBS = "/v1/fine_tuning/jobs"
DEADLINE = 30


class HeldFirst:
    """Replaces a function that reads for all polls. Its first call waits until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str = "find_versions") -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.asked: list[list[str]] = []
        self._find = getattr(shared_polls.queries, name)
        monkeypatch.setattr(shared_polls.queries, name, self)

    def __call__(self, session: Session, job_ids: list[str]) -> Any:
        self.asked.append(job_ids)
        if len(self.asked) == 1:
            self.begun.set()
            assert self.let_go.wait(DEADLINE)
        return self._find(session, job_ids)


@pytest.fixture
def polls(api: Api) -> SharedPolls:
    """Make polls for the test. The server's own belong to its event loop."""
    state = api.app.state
    return SharedPolls(state.reading_sessions, state.positions, state.settings.lease_seconds)


def test_polls_that_wait_for_each_other_share_a_query(
    polls: SharedPolls, alice: Tenant, bob: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, other = alice.project_id, bob.project_id
    jobs = [alice.create_job()["id"] for _ in range(3)]
    held = HeldFirst(monkeypatch)

    async def ask() -> list[str | None]:
        first = asyncio.create_task(polls.tag(Polled(project, jobs[0])))
        await asyncio.to_thread(held.begun.wait, DEADLINE)
        asked = [Polled(project, job) for job in (*jobs, *jobs)] + [Polled(other, jobs[1])]
        later = [asyncio.create_task(polls.tag(each)) for each in asked]
        await asyncio.sleep(0)
        held.let_go.set()
        return list(await asyncio.wait_for(asyncio.gather(first, *later), DEADLINE))

    first, *again, foreign = asyncio.run(ask())
    assert [sorted(set(asked)) for asked in held.asked] == [[jobs[0]], sorted(jobs)]
    assert again[:3] == again[3:]
    assert len({*again}) == len(jobs)
    assert first == again[0]
    assert foreign is None


def test_a_poll_sees_what_was_written_before_it_came(
    polls: SharedPolls, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even while an earlier poll of the same job is being read."""
    polled = Polled(alice.project_id, alice.create_job()["id"])
    before = asyncio.run(polls.tag(polled))
    held = HeldFirst(monkeypatch)

    async def ask() -> str | None:
        early = asyncio.create_task(polls.tag(polled))
        await asyncio.to_thread(held.begun.wait, DEADLINE)
        await asyncio.to_thread(alice.openai.fine_tuning.jobs.cancel, polled.job_id)
        late = asyncio.create_task(polls.tag(polled))
        await asyncio.sleep(0)
        held.let_go.set()
        await early
        return await late

    assert asyncio.run(ask()) not in (None, before)


def test_a_poll_that_is_given_up_takes_no_other_with_it(
    polls: SharedPolls, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled = Polled(alice.project_id, alice.create_job()["id"])
    held = HeldFirst(monkeypatch)

    async def ask() -> str | None:
        first = asyncio.create_task(polls.tag(Polled("another", "job")))
        await asyncio.to_thread(held.begun.wait, DEADLINE)
        given_up, kept = (asyncio.create_task(polls.tag(polled)) for _ in range(2))
        await asyncio.sleep(0)
        given_up.cancel()
        held.let_go.set()
        await first
        return await asyncio.wait_for(kept, DEADLINE)

    assert asyncio.run(ask()) is not None


def test_a_database_that_is_away_fails_those_who_ask_and_not_those_who_ask_later(api: Api) -> None:
    engine = create_database("postgresql://nobody@127.0.0.1:1/none")
    sessions: Any = ChangingSessions(reading_sessions(engine))
    polls = SharedPolls(sessions, api.app.state.positions, api.settings.lease_seconds)

    async def ask() -> list[object]:
        asked = [polls.tag(Polled("proj_a", f"ftjob-{number}")) for number in range(3)]
        failed = await asyncio.gather(*asked, return_exceptions=True)
        sessions.now = api.app.state.reading_sessions
        return [*failed, await polls.tag(Polled("proj_a", "ftjob-1"))]

    *failed, later = asyncio.run(ask())
    assert [type(error) for error in failed] == [OperationalError] * 3
    assert later is None


def test_polls_leave_their_key_its_turns(api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{JOBS}/{alice.create_job()['id']}"
    held = HeldFirst(monkeypatch)
    with ThreadPoolExecutor(POLLS_AT_ONCE) as pool:
        answers = [
            pool.submit(alice.http.get, url, headers={"if-none-match": '"old"'}) for _ in range(POLLS_AT_ONCE)
        ]
        assert held.begun.wait(DEADLINE)
        assert alice.http.get("/v1/models", timeout=DEADLINE).status_code == 200
        assert not any(answer.done() for answer in answers)
        held.let_go.set()
        assert {answer.result(DEADLINE).status_code for answer in answers} == {200}


def test_polls_that_wait_for_a_database_leave_room_to_others(
    alice: Tenant, bob: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{JOBS}/{alice.create_job()['id']}"
    held = HeldFirst(monkeypatch, "find_rows")
    with ThreadPoolExecutor(POLLS_AT_ONCE) as pool:
        answers = [pool.submit(alice.http.get, url) for _ in range(POLLS_AT_ONCE)]
        assert held.begun.wait(DEADLINE)
        assert bob.http.get("/v1/models", timeout=DEADLINE).status_code == 200
        held.let_go.set()
        shown = [answer.result(DEADLINE) for answer in answers]
    assert {answer.status_code for answer in shown} == {200}
    assert len({answer.text for answer in shown}) == 1
    assert len(held.asked) <= 3


def test_a_job_that_cannot_be_shown_fails_no_poll_of_another(
    polls: SharedPolls, alice: Tenant, bob: Tenant, api: Api
) -> None:
    broken, sound = (
        Polled(alice.project_id, alice.create_job()["id"]),
        Polled(bob.project_id, bob.create_job()["id"]),
    )
    with api.sessions.begin() as session:
        session.get_one(Job, broken.job_id).spec = {}

    async def ask() -> list[Any]:
        return await asyncio.gather(polls.read(broken), polls.read(sound), return_exceptions=True)

    failed, answer = asyncio.run(ask())
    assert isinstance(failed, KeyError)
    assert answer.status_code == 200
