"""Runs keep to their project's quotas of chats: they wait for room, say so, and leave room for chats."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from cli.embedded import EmbeddedServers
from core.access.projects import set_quotas
from core.access.rates import Counters, TokenRates
from core.errors import RateLimited
from core.serving.shared_permits import SharedPermits
from core.tables import Project, Task
from core.work import client as tasks_of_clients
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import EXACT, EvalRuns, inline
from worker.tasks.evaluation.run import WAITING_FOR_QUOTA
from worker.tasks.frame.work import GaveWay, Work

ROWS = inline([{"input": f"Question {number}?", "reference": "x"} for number in range(6)])
MANY = 1_000_000


def allow(runs: EvalRuns, **quotas: int) -> None:
    with runs.sessions.begin() as session:
        set_quotas(session, session.get_one(Project, runs.project), quotas)


@contextmanager
def chats_at_work(runs: EvalRuns, count: int) -> Iterator[None]:
    """Hold so many permits of the project, as a process of the API does."""
    permits = SharedPermits(Counters(runs.serving.urls["broker_url"]), lasts=300)

    async def take() -> None:
        for _ in range(count):
            await permits.take(runs.project, MANY)

    asyncio.run(take())
    yield
    permits.close()


@pytest.fixture
def slow_server(serving: Serving) -> Iterator[ServerProcess]:
    server = serving.start(rest=0.05)
    yield server
    server.close()


def waits_for_quota(runs: EvalRuns, run_id: str) -> bool:
    return runs.task(run_id).phase == WAITING_FOR_QUOTA


@pytest.mark.exhaustive
def test_a_run_waits_while_chats_have_half_of_the_permits_and_goes_on_when_the_quota_grows(
    runs: EvalRuns, server: ServerProcess
) -> None:
    allow(runs, concurrent_chats=4)
    run_id = runs.create([EXACT], ROWS)
    with chats_at_work(runs, 2), runs.worker():
        wait_for(lambda: waits_for_quota(runs, run_id))
        assert not runs.serving.row_of(server).running
        allow(runs, concurrent_chats=8)
        assert runs.ended(run_id).status == "succeeded"
    assert [record.error for record in runs.found(run_id).records] == [None] * 6


@pytest.mark.parametrize(("chats", "most"), [(4, 2), (1, 1)])
@pytest.mark.exhaustive
def test_a_run_has_no_more_than_half_of_the_permits_but_always_one(
    runs: EvalRuns, slow_server: ServerProcess, chats: int, most: int
) -> None:
    allow(runs, concurrent_chats=chats)
    with ThreadPoolExecutor() as pool:
        doing = pool.submit(runs.do, [EXACT], ROWS)
        at_once = set()
        while not doing.done():
            at_once.add(slow_server.state()["requests"])
        found = doing.result()
    assert max(at_once) == most
    assert [record.error for record in found.records] == [None] * 6


@pytest.mark.exhaustive
def test_a_run_waits_while_half_of_the_minutes_tokens_are_used_and_adds_its_own(
    runs: EvalRuns, server: ServerProcess
) -> None:
    allow(runs, tokens_per_minute=MANY)
    rates = TokenRates(Counters(runs.serving.urls["broker_url"]))
    rates.add(runs.project, MANY, MANY // 2)
    run_id = runs.create([EXACT], ROWS)
    with runs.worker():
        wait_for(lambda: waits_for_quota(runs, run_id))
        assert int(rates.check(runs.project, MANY)["x-ratelimit-remaining-tokens"]) == MANY // 2
        allow(runs, tokens_per_minute=2 * MANY)  # which is counted anew
        task = runs.ended(run_id)
    assert task.status == "succeeded"
    used = sum(each["total_tokens"] for each in (task.report or {})["usage"])
    assert used > 0
    left = int(rates.check(runs.project, 2 * MANY)["x-ratelimit-remaining-tokens"])
    assert left == 2 * MANY - used


def test_a_run_that_only_waits_for_its_quota_gives_way_to_another_projects(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "share_seconds", 0.0)
    runs, other = (EvalRuns(serving, tmp_path) for _ in range(2))
    allow(runs, concurrent_chats=1)
    waiting = runs.create([EXACT], ROWS)
    row = {"item": {"reference": "x"}, "sample": {"output_text": "x"}}
    short = other.create([EXACT], other.file([row]), model=None)
    with chats_at_work(runs, 1), pytest.raises(GaveWay):
        runs.do_next(waiting)
    other.do_next(short)
    with runs.sessions.begin() as session:
        tasks_of_clients.cancel(session, session.get_one(Task, waiting))


def test_one_that_yields_gets_a_permit_only_while_nobody_waits(servers: EmbeddedServers) -> None:
    async def act() -> None:
        permits, project = SharedPermits(Counters(servers.urls["broker_url"])), uuid4().hex
        first = await permits.take(project, 2)
        second = await permits.take(project, 2)
        chat = asyncio.create_task(permits.take(project, 2))
        row = asyncio.create_task(permits.take(project, 2, yields=True))
        await asyncio.sleep(0)
        permits.give_back(project, first)
        await asyncio.wait_for(chat, 30)
        assert not row.done()
        permits.give_back(project, second)
        await asyncio.wait_for(row, 30)
        permits.close()

    asyncio.run(act())


def test_what_is_kept_back_of_the_tokens_is_left_to_others(servers: EmbeddedServers) -> None:
    rates, project = TokenRates(Counters(servers.urls["broker_url"])), uuid4().hex
    rates.add(project, 100, 60)
    assert rates.check(project, 100, 39)
    with pytest.raises(RateLimited):
        rates.check(project, 100, 40)
