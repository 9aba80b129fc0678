"""The thread that grades for a trainer: several jobs at once, each at its own speed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from cli.embedded import EmbeddedServers
from core.access.projects import create_project
from core.database import create_database, session_factory
from core.errors import JobError
from core.graders.sample import Sample
from core.graders.schemas import Grader
from core.ids import new_id
from core.secrets.endpoint_headers import SIGNING_SECRET, with_sealed_headers
from core.secrets.vault import Vault
from core.serving.served_model import ServedModel
from core.settings import Settings
from core.tables import ChatUsage, Secret, Server
from core.webhooks import new_signing_secret
from tests.fixtures.outside.scorer import Reply, Scorer, answer, score
from tests.fixtures.processes.processes import named
from tests.fixtures.service.api import wait_for
from worker.grading.grading_thread import GradingThread, Teacher
from worker.grading.usage import UsageSums

GRADER: TypeAdapter[Any] = TypeAdapter(Grader)
CHECK = GRADER.validate_python(
    {
        "type": "string_check",
        "name": "same",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "operation": "eq",
    }
)
JUDGE = GRADER.validate_python(
    {
        "type": "label_model",
        "name": "judge",
        "model": "asked",
        "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
        "labels": ["good", "bad"],
        "passing_labels": ["good"],
    }
)
ITEM = {"answer": "yes"}
SECONDS = 120
KEY = Vault.new_key()


def samples(*texts: str) -> list[tuple[int, dict[str, Any], Sample]]:
    return [(number, ITEM, Sample(text)) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def sessions(database_url: str) -> sessionmaker[Session]:
    return session_factory(create_database(database_url))


@pytest.fixture(scope="module")
def project(sessions: sessionmaker[Session]) -> str:
    with sessions.begin() as session:
        return create_project(session, new_id("p")).id


Grading = Callable[..., GradingThread]


@pytest.fixture
def grading(servers: EmbeddedServers, sessions: sessionmaker[Session]) -> Iterator[Grading]:
    """Yield what makes threads with settings. They end with the test."""
    threads: list[GradingThread] = []

    def new(**settings: Any) -> GradingThread:
        defaults = {"secret_keys": SecretStr(KEY), "egress_allow": "127.0.0.1"}
        broker = servers.urls["broker_url"]
        threads.append(GradingThread(Settings(broker_url=broker, **{**defaults, **settings}), sessions))
        return threads[-1]

    yield new
    for each in threads:
        each.close()


def grader_processes() -> list[psutil.Process]:
    return named("anyio.to_process", psutil.Process().children())


def test_a_program_that_grades_nothing_starts_and_imports_nothing() -> None:
    code = """
import sys, threading
from core.settings import Settings
from worker.grading.grading_thread import GradingThread
before = set(sys.modules)
thread = GradingThread(Settings(), None)
thread.leave("ftjob-a")
thread.close()
assert threading.active_count() == 1
heavy = {"anyio", "httpx", "httpcore", "core.egress", "worker.grading.desks"} & set(sys.modules)
assert not heavy, heavy
assert set(sys.modules) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


def test_samples_are_graded_in_their_order(grading: Grading, project: str) -> None:
    thread = grading()
    found = thread.submit("ftjob-a", project, CHECK, samples("yes", "no", "yes")).result(SECONDS)
    assert [(each.score, each.fault) for each in found] == [(1, None), (0, None), (1, None)]
    assert thread.submit("ftjob-a", project, CHECK, []).result(SECONDS) == []


def test_a_grader_that_fails_costs_its_sample_alone(grading: Grading, project: str, scorer: Scorer) -> None:
    multi = {
        "type": "multi",
        "name": "all",
        "graders": {"remote": scorer.grader(), "parsed": CHECK.model_dump(mode="json")},
        "calculate_output": "remote + parsed",
    }
    multi["graders"]["parsed"]["input"] = "{{ sample.output_json.a }}"  # type: ignore[index]
    scorer.always = score(2)
    scorer.replies = [answer(b'{"score": "2"}')]
    thread = grading(grading_at_once=1)
    rows = samples('{"a": "yes"}', '{"a": "yes"}', "no JSON", "[]")
    found = thread.submit("ftjob-a", project, GRADER.validate_python(multi), rows).result(SECONDS)
    assert [(each.score, each.fault) for each in found] == [
        (0, "endpoint_grader_error"),
        (3, None),
        (0, "sample_parse_error"),
        (0, "invalid_variable_error"),
    ]
    assert found[0].message == (
        "The endpoint of the grader 'remote' gave no score: its 'score' is a string, not a number."
    )
    assert all(each.message for each in found if each.fault is not None)
    assert all(json.loads(each.body)["item"] == ITEM for each in scorer.requests)


def test_a_slow_grader_of_one_job_holds_up_no_other(grading: Grading, project: str, scorer: Scorer) -> None:
    slow = GRADER.validate_python(scorer.grader())
    scorer.always = scorer.hang
    thread = grading(grading_at_once=2)
    waiting = thread.submit("ftjob-slow", project, slow, samples(*"abcdef"))
    wait_for(lambda: len(scorer.requests) == 2)
    found = thread.submit("ftjob-quick", project, CHECK, samples("yes", "yes", "no")).result(SECONDS)
    assert [each.score for each in found] == [1, 1, 0]
    assert not waiting.done()
    assert len(scorer.requests) == 2
    thread.leave("ftjob-slow")
    with pytest.raises(CancelledError):
        waiting.result(SECONDS)


def test_a_job_gives_up_what_it_cancels_and_goes_on(grading: Grading, project: str, scorer: Scorer) -> None:
    slow = GRADER.validate_python(scorer.grader())
    scorer.replies = [scorer.hang]
    thread = grading(grading_at_once=1)
    given_up = thread.submit("ftjob-a", project, slow, samples("a", "b"))
    wait_for(lambda: scorer.requests)
    assert given_up.cancel()
    (found,) = thread.submit("ftjob-a", project, slow, samples("c")).result(SECONDS)
    assert found.score == 0.5
    assert len(scorer.requests) == 2


def test_headers_and_signature_reach_the_endpoint(
    grading: Grading, sessions: sessionmaker[Session], scorer: Scorer
) -> None:
    vault, secret = Vault(KEY), new_signing_secret()
    with sessions.begin() as session:
        signer = create_project(session, new_id("p")).id
        session.flush()
        session.add(Secret(project_id=signer, name=SIGNING_SECRET, sealed=vault.seal(secret)))
    asked = GRADER.validate_python(scorer.grader(headers={"Authorization": "Bearer abc"}))
    stored = GRADER.validate_python(with_sealed_headers(vault, asked).model_dump(mode="json"))
    grading().submit("ftjob-a", signer, stored, samples("a")).result(SECONDS)
    (request,) = scorer.requests
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["webhook-signature"]
    other = grading(secret_keys=SecretStr(Vault.new_key()))
    with pytest.raises(JobError) as failed:
        other.submit("ftjob-a", signer, stored, samples("a")).result(SECONDS)
    assert failed.value.code == "secrets_unreadable"
    assert len(scorer.requests) == 1


def test_a_process_for_graders_does_not_run_the_program_that_grades(tmp_path: Path) -> None:
    """A trainer imports torch, which takes seconds and hundreds of megabytes."""
    runs, program = tmp_path / "runs", tmp_path / "program.py"
    program.write_text(f"""
with open({str(runs)!r}, "a") as file:
    file.write(f"{{__name__}}\\n")
if __name__ == "__main__":
    from core.graders.sample import Sample
    from core.graders.schemas import StringCheckGrader
    from core.settings import Settings
    from worker.grading.grading_thread import GradingThread
    same = StringCheckGrader(type="string_check", name="a", input="x", reference="x", operation="eq")
    thread = GradingThread(Settings(), None)
    print(thread.submit("ftjob-a", "proj-a", same, [(0, {{}}, Sample("x"))]).result({SECONDS})[0].score)
    thread.close()
""")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "1.0\n", done.stderr
    assert runs.read_text() == "__main__\n"


def project_with_server(sessions: sessionmaker[Session], scorer: Scorer) -> str:
    """Return the id of a new project, whose requests for the base model `asked` go to the scorer."""
    with sessions.begin() as session:
        found = create_project(session, new_id("p")).id
        session.execute(delete(Server))
        session.add(
            Server(
                id=new_id("server-"),
                address=scorer.url,
                host="here",
                release="test",
                bases=["asked"],
                adapters=[],
                running=0,
                waiting=0,
                capacity=8,
                draining=False,
                expires_at=func.now() + timedelta(hours=1),
            )
        )
    return found


def test_the_tokens_of_models_are_told_and_count_for_the_project(
    grading: Grading, sessions: sessionmaker[Session], scorer: Scorer
) -> None:
    judged = project_with_server(sessions, scorer)
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    choice = {"message": {"role": "assistant", "content": '{"label": "good"}'}, "finish_reason": "stop"}
    scorer.always = answer(json.dumps({"choices": [choice], "usage": usage}).encode())
    models, used = {"asked": ServedModel(base="asked")}, UsageSums()
    order = grading().submit("ftjob-a", judged, JUDGE, samples("a", "b"), models=models, usage=used)
    found = order.result(SECONDS)
    assert [each.score for each in found] == [1, 1]
    assert all(set(each.samples or {}) == {"judge"} for each in found)
    assert [(each.model_name, each.prompt_tokens) for each in used.by_model] == [("asked", 10)]
    with sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == judged))
    assert (counted.requests, counted.prompt_tokens) == (2, 10)
    seeds = {json.loads(each.body)["seed"] for each in scorer.requests}
    assert seeds == {0, 1}


def test_a_teacher_reads_each_answer_and_fails_for_one_alone(
    grading: Grading, sessions: sessionmaker[Session], scorer: Scorer
) -> None:
    def reply(*logprobs: float | None) -> Reply:
        """Reply with a log-probability of each of the tokens 7, 8, …; the first one has none."""
        places = [None, *({str(8 + at): {"logprob": each, "rank": 1}} for at, each in enumerate(logprobs))]
        usage = {"prompt_tokens": 1 + len(logprobs), "completion_tokens": 0}
        return answer(json.dumps({"choices": [{"prompt_logprobs": places}], "usage": usage}).encode())

    refused = {"error": {"message": "It is too long.", "code": "context_length_exceeded", "type": "a"}}
    read = project_with_server(sessions, scorer)
    scorer.replies = [
        reply(-0.5, -2.0, -0.25),
        answer(json.dumps(refused).encode(), 400),
        reply(-0.5, None, -0.25),
    ]
    texts = [([7, 8], [9, 10])] * 3 + [([7, 8], [])]
    models, used = {"big": ServedModel(base="asked")}, UsageSums()
    thread = grading(grading_at_once=1)
    found = thread.submit("ftjob-a", read, Teacher("big"), texts, models=models, usage=used).result(SECONDS)
    assert [each.logprobs for each in found] == [(-2.0, -0.25), None, None, ()]
    assert [each.fault for each in found] == [None, "context_length_exceeded", "loss_not_finite", None]
    assert found[1].message == "It is too long."
    assert [json.loads(each.body)["prompt"] for each in scorer.requests] == [[7, 8, 9, 10]] * 3
    assert [(each.model_name, each.prompt_tokens) for each in used.by_model] == [("big", 8)]
    with sessions() as session:
        (counted,) = session.scalars(select(ChatUsage).where(ChatUsage.project_id == read))
    assert (counted.model, counted.requests, counted.prompt_tokens) == ("big", 2, 8)


def test_a_model_that_no_server_answers_for_ends_the_whole_order(
    grading: Grading, sessions: sessionmaker[Session], project: str
) -> None:
    with sessions.begin() as session:
        session.execute(delete(Server))
    thread = grading(eval_wait_seconds=0.5, chat_wait_seconds=0.1)
    models, usage = {"asked": ServedModel(base="asked")}, UsageSums()
    with pytest.raises(JobError) as failed:
        thread.submit("ftjob-a", project, JUDGE, samples("a", "b"), models=models, usage=usage).result(
            SECONDS
        )
    assert failed.value.code == "no_server"
    found = thread.submit("ftjob-a", project, CHECK, samples("yes")).result(SECONDS)
    assert found[0].score == 1


def test_a_thread_that_is_closed_leaves_nothing(grading: Grading, project: str, scorer: Scorer) -> None:
    scorer.always = scorer.hang
    thread = grading()
    thread.submit("ftjob-a", project, CHECK, samples("yes")).result(SECONDS)
    assert grader_processes()
    orders = [
        thread.submit(f"ftjob-{name}", project, GRADER.validate_python(scorer.grader()), samples("a"))
        for name in "ab"
    ]
    wait_for(lambda: len(scorer.requests) == 2)
    began = time.monotonic()
    thread.close()
    assert not wait(orders, SECONDS).not_done
    assert all(order.cancelled() for order in orders)
    assert time.monotonic() - began < 30
    wait_for(lambda: not grader_processes())
    thread.close()
