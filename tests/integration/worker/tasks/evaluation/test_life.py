"""Eval runs whose process, server or store dies: each goes on or ends clearly, and has every row once."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select, update

from core.access.projects import set_quotas
from core.access.rates import Counters, TokenRates
from core.database import from_now
from core.errors import JobError, OutsideFault
from core.roles import Role
from core.serving.served_model import StoredAdapter
from core.tables import Adapter, ChatUsage, Project, Task
from core.work import client as tasks_of_clients
from core.work import lease as leases
from core.work.kinds import EVAL_RUN
from faults.relay import Relay
from tests.fixtures.faults import crashes
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.tasks import task_process
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import EXACT, EvalRuns, inline
from worker.tasks.frame.process import do_and_write
from worker.tasks.frame.work import GaveWay, Work

ONE_TOKEN = {"sampling_params": {"max_completion_tokens": 1}}
MANY = 1_000_000  # tokens per minute
LONG = {"sampling_params": {"max_completion_tokens": 400}}


def questions(count: int) -> list[dict[str, Any]]:
    return [{"input": f"Question {number}?", "reference": "x"} for number in range(count)]


def samples(runs: EvalRuns, count: int) -> dict[str, Any]:
    """Return a file of rows that have their samples, so that no server is needed."""
    rows = [{"item": {"reference": "x"}, "sample": {"output_text": str(number)}} for number in range(count)]
    return runs.file(rows)


def numbers(runs: EvalRuns, run_id: str) -> list[int]:
    return [record.index for record in runs.found(run_id).records]


def cancel(runs: EvalRuns, run_id: str) -> None:
    with runs.sessions.begin() as session:
        tasks_of_clients.cancel(session, session.get_one(Task, run_id))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def slow_server(serving: Serving) -> Iterator[ServerProcess]:
    """Yield a server whose answers take 40 seconds, in short steps: it ends an answer after one."""
    server = serving.start(rest=0.1)
    yield server
    server.close()


def test_a_run_whose_process_is_killed_goes_on_from_its_files(
    runs: EvalRuns, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in crashes.plan(tmp_path / "crashes", "place records.uploaded 1").items():
        monkeypatch.setenv(name, value)
    run_id = runs.create([EXACT], runs.file(questions(150)), **ONE_TOKEN)
    with runs.worker():
        task = runs.ended(run_id)
    assert (task.status, task.fence, task.losses, task.expires_at) == ("succeeded", 2, 1, None)
    assert crashes.left(tmp_path / "crashes") == []
    assert numbers(runs, run_id) == list(range(150))
    assert sum(used["invocation_count"] for used in (task.report or {})["usage"]) == 150
    with runs.sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == runs.project))
    assert 150 <= counted.requests <= 200  # the first 100 rows were asked about once
    assert len({key.split("/")[2] for key in runs.uploaded(run_id)}) == 2  # both attempts have uploaded

    with runs.sessions.begin() as session:
        tasks_of_clients.delete(session, session.get_one(Task, run_id))
    clean(runs, GRACE_OVER)
    assert runs.uploaded(run_id) == []


def test_files_of_other_items_or_torn_ones_are_judged_again(runs: EvalRuns) -> None:
    run_id = runs.create([EXACT], samples(runs, 150), model=None)
    other = runs.do_next(run_id)
    first, second = sorted(other.files, key=lambda file: str(file["name"]))
    content = b"".join(runs.store.read(f"{other.object_prefix}{first['name']}"))
    changed = content.replace(b'"reference":"x"', b'"reference":"y"')
    for number, (name, wrong) in enumerate(
        [(first["name"], changed), (first["name"], content[:-40]), (second["name"], content)]
    ):
        again = runs.create([EXACT], samples(runs, 150), model=None)
        runs.store.put_bytes(f"evalruns/{again}/{number}-earlier/{name}", wrong)
        runs.do_next(again)
        assert numbers(runs, again) == list(range(150))
        assert {record.item["reference"] for record in runs.found(again).records} == {"x"}


@pytest.mark.exhaustive
def test_a_run_stops_at_the_next_file_once_its_model_is_not_shared_any_more(
    chat_api: Api, runs: EvalRuns, serving: Serving, server: ServerProcess
) -> None:
    owner, guest = chat_api.tenant(role=Role.ADMIN), chat_api.tenant()
    name, adapter_id = tuned_model(chat_api, owner, serving.adapter(seed=1))
    with runs.sessions() as session:
        adapter = session.get_one(Adapter, adapter_id)
    stored = StoredAdapter.of(adapter.object_prefix, adapter.files)
    permissions = f"/v1/fine_tuning/checkpoints/{name}/permissions"
    shared = owner.http.post(permissions, json={"project_ids": [guest.project_id]}).json()["data"]
    runs.project = guest.project_id
    run_id = runs.create([EXACT], runs.file(questions(150)), stored, model=name, **ONE_TOKEN)
    with ThreadPoolExecutor() as pool:
        doing = pool.submit(runs.do_next, run_id)
        wait_for(lambda: runs.uploaded(run_id) or doing.done())
        assert owner.http.delete(f"{permissions}/{shared[0]['id']}").is_success
        with pytest.raises(JobError, match="is not shared with this project any more") as stopped:
            doing.result()
    assert (stopped.value.code, stopped.value.param) == ("model_not_found", "model")
    assert runs.task(run_id).files == []


def test_a_run_whose_records_do_not_fit_into_the_quota_fails_before_it_sends_them(runs: EvalRuns) -> None:
    runs.settings = runs.settings.model_copy(update={"project_stored_bytes": 50_000})
    run_id = runs.create([EXACT], samples(runs, 300), model=None)
    with pytest.raises(JobError, match="does not fit") as refused:
        runs.do_next(run_id)
    assert refused.value.code == "insufficient_quota"
    assert len(runs.uploaded(run_id)) < 3


def test_a_cancelled_run_stops_within_seconds(runs: EvalRuns, slow_server: ServerProcess) -> None:
    run_id = runs.create([EXACT], inline(questions(4)), **LONG)
    with runs.worker():
        process = task_process()
        wait_for(lambda: runs.serving.row_of(slow_server).running)
        cancel(runs, run_id)
        wait_for(lambda: is_gone(process), 30)
        wait_for(lambda: not runs.serving.row_of(slow_server).running, 30)
    task = runs.task(run_id)
    assert (task.status, task.files, task.report) == ("cancelled", [], None)


@pytest.mark.parametrize("status", ["cancelled", "queued"])
@pytest.mark.exhaustive
def test_the_tokens_count_of_rows_that_a_run_has_given_up(
    runs: EvalRuns, slow_server: ServerProcess, status: str
) -> None:
    """The run is cancelled, or its worker stops."""
    with runs.sessions.begin() as session:
        set_quotas(session, session.get_one(Project, runs.project), {"tokens_per_minute": MANY})
    run_id = runs.create([EXACT], inline(questions(4)), **LONG)
    with runs.worker():
        process = task_process()
        wait_for(lambda: (slow_server.state()["sampler"] or {}).get("running") == 4)
        prompts = wait_for(lambda: slow_server.state()["sampler"]["cache"])
        wait_for(lambda: slow_server.state()["sampler"]["cache"] > 2 * prompts)  # all four answers have begun
        if status == "cancelled":
            cancel(runs, run_id)
            wait_for(lambda: is_gone(process), 30)
    assert runs.task(run_id).status == status
    with runs.sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == runs.project))
    assert counted.requests == 4
    assert counted.completion_tokens >= 4
    left = TokenRates(Counters(runs.serving.urls["broker_url"])).check(runs.project, MANY)
    used = counted.prompt_tokens + counted.completion_tokens
    assert int(left["x-ratelimit-remaining-tokens"]) == MANY - used
    if status == "queued":
        cancel(runs, run_id)  # so that no other test takes it


@pytest.mark.exhaustive
def test_a_run_goes_on_at_another_server_when_one_dies(runs: EvalRuns, serving: Serving) -> None:
    servers = [serving.start(rest=0.05) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        doing = pool.submit(
            runs.do, [EXACT], inline(questions(12)), sampling_params={"max_completion_tokens": 60}
        )
        wait_for(lambda: serving.row_of(servers[0]).running)
        servers[0].process.send_signal(signal.SIGKILL)
        found = doing.result()
    servers[1].close()
    assert [record.index for record in found.records] == list(range(12))
    assert [record.error for record in found.records] == [None] * 12


@pytest.mark.exhaustive
def test_a_run_waits_for_a_server_and_says_so(serving: Serving, tmp_path: Path) -> None:
    wait_for(lambda: not serving.live())  # the servers of other tests count as live for a while
    runs = EvalRuns(serving, tmp_path)
    run_id = runs.create([EXACT], inline(questions(2)), **ONE_TOKEN)
    with runs.worker():
        wait_for(lambda: runs.task(run_id).phase == f"waiting for a server for '{TINY}'")
        server = serving.start()
        assert runs.ended(run_id).status == "succeeded"
        server.close()


def test_a_run_without_a_server_fails_after_its_time(serving: Serving, tmp_path: Path) -> None:
    runs = EvalRuns(serving, tmp_path, eval_wait_seconds=1)
    with pytest.raises(JobError, match="No server for 'nowhere' answered for 1 seconds"):
        runs.do([EXACT], inline(questions(2)), base="nowhere")


def test_a_run_that_cannot_ask_servers_fails_at_once(serving: Serving, tmp_path: Path) -> None:
    runs = EvalRuns(serving, tmp_path)
    runs.settings = runs.settings.model_copy(update={"secret_keys": None})
    assert runs.do([EXACT], samples(runs, 1), model=None).report
    with pytest.raises(JobError, match="TUNERY_SECRET_KEYS is not set") as raised:
        runs.do([EXACT], inline(questions(1)))
    assert raised.value.code == "not_configured"


@pytest.mark.parametrize(
    ("tries", "days", "status"), [(60, 2, "failed"), (60, 0, "queued"), (59, 2, "queued")]
)
def test_a_fault_fails_only_a_task_that_is_old_and_was_tried_often(
    runs: EvalRuns, tries: int, days: int, status: str
) -> None:
    def fail(work: Work, folder: Path) -> dict[str, Any]:
        raise OutsideFault("The store is away")

    run_id = runs.create([EXACT], samples(runs, 1), model=None)
    with runs.sessions.begin() as session:
        changed = {"fence": tries - 1, "created_at": from_now(-days * 86_400)}
        session.execute(update(Task).where(Task.id == run_id).values(changed))
        lease = leases.take(session, "test", [EVAL_RUN.name])
    assert lease is not None
    do_and_write(fail, Work(runs.settings, runs.sessions, runs.store, runs.task(run_id), lease))
    with runs.sessions.begin() as session:
        task = session.get_one(Task, run_id)
        assert (task.id, task.status) == (lease.task_id, status)
        session.delete(task)  # so that no other test takes it


def test_a_run_whose_store_is_away_goes_back_into_the_queue_and_ends_later(runs: EvalRuns) -> None:
    run_id = runs.create([EXACT], samples(runs, 120), model=None)
    with Relay.to(runs.serving.urls["s3_endpoint_url"]) as line:
        line.loss = 1.0
        with runs.worker(s3_endpoint_url=line.url):
            wait_for(lambda: runs.task(run_id).status == "queued" and runs.task(run_id).fence == 1, 60)
            line.loss = 0.0
            with runs.sessions.begin() as session:
                session.execute(update(Task).where(Task.id == run_id).values(held_until=from_now(0)))
            task = runs.ended(run_id)
    assert (task.status, task.losses) == ("succeeded", 0)
    assert numbers(runs, run_id) == list(range(120))


def test_a_long_run_gives_way_to_another_projects_and_goes_on(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "share_seconds", 0.0)
    runs, other = (EvalRuns(serving, tmp_path, eval_requests=1) for _ in range(2))
    long = runs.create([EXACT], samples(runs, 250), model=None)
    short = other.create([EXACT], samples(other, 50), model=None)
    with pytest.raises(GaveWay):
        runs.do_next(long)
    assert runs.uploaded(long)
    assert runs.task(long).status == "queued"
    other.do_next(short)
    runs.do_next(long)
    assert (numbers(runs, long), numbers(runs, short)) == (list(range(250)), list(range(50)))
    assert (runs.task(long).fence, runs.task(long).losses) == (2, 0)
