"""The workers of `bench.scale.workers` do with jobs what real ones do, on the real database."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from bench.scale.workers import jobs as measured_jobs
from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.duties import Duties
from bench.scale.workers.rates import Rates
from bench.scale.workers.worker import Times, Worker
from cli.embedded import EmbeddedServers
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Adapter, Claim, Event, Job, Metric
from tests.fixtures.service.jobs import Jobs

WORKERS, PROJECTS = 4, 2
QUICK = Rates(job=0.1, beat=0.02, scan=0.2, look=0.2, tasks=0.2, trackers=0.2, webhooks=0.2, janitor=0.5)


@pytest.fixture
def store(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore(servers.urls["s3_endpoint_url"], servers.urls["s3_bucket"])


async def work(url: str, store: ObjectStore, ends: int) -> Times:
    """Let WORKERS workers work side by side, with two connections, until so many jobs have ended."""
    calls, times = Coroutines(url, 2, prepared=False), Times()
    settings = Settings(devices=measured_jobs.DEVICES)
    duties, first = [Duties(settings, calls.sessions, store) for _ in range(WORKERS)], asyncio.Semaphore(2)
    workers = [Worker(each, calls, QUICK, times, first) for each in duties]
    running = [asyncio.create_task(each.run()) for each in workers]
    async with asyncio.timeout(120):
        while len(times.seconds["end of a job"]) < ends:
            await asyncio.sleep(0.02)
    for each in workers:
        each.stop()
    await asyncio.gather(*running)
    await calls.close()
    return times


def test_workers_claim_report_and_finish_jobs_of_all_projects(
    jobs: Jobs, database_url: str, store: ObjectStore
) -> None:
    projects = measured_jobs.projects(jobs.sessions, PROJECTS)
    assert measured_jobs.submit(jobs.sessions, projects, 10) == 10 * PROJECTS
    times = asyncio.run(work(database_url, store, 2 * WORKERS))
    with jobs.sessions() as session:
        finished = session.scalars(select(Job).where(Job.status == "succeeded")).all()
        of_step = select(func.count()).select_from(Event).where(Event.type == "metrics")
        steps, metrics = session.scalar(of_step), session.scalar(select(func.count()).select_from(Metric))
        adapters = session.scalars(select(Adapter.job_id)).all()
        held = session.scalar(select(func.count()).where(Claim.ended_at.is_(None)))
    assert {job.project_id for job in finished} == set(projects) == set(times.projects)
    assert {job.id for job in finished} == set(adapters)
    assert len(finished) == len(times.seconds["end of a job"])
    assert steps == metrics == len(times.seconds["renewal with a step"]) > 0
    assert held == 0, "a worker that stops gives its job back"
