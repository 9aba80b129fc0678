"""A trainer that answers chats itself: one device and one base model in memory for both."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import openai
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core.statuses import ENDED
from core.tables import Adapter
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import step_with_a_rest
from tests.fixtures.service.api import Api, Tenant, dataset, wait_for
from tests.fixtures.service.chatting import tuned_model
from tests.fixtures.service.serving import TOOLS, WEIGHTS, Serving
from tests.fixtures.service.trainer import job_of, running
from worker.device import lending
from worker.device.model_holder import FoundModel, ModelHolder
from worker.engine.sampler.sampler import Sampler
from worker.trainer.train.trainer import Trainer

PROMPTS = ["Hello", "What is the time?", "A longer question, of which the answer is not known to anybody."]


@pytest.fixture(scope="module")
def tenant(chat_api: Api) -> Tenant:
    return chat_api.tenant()


@pytest.fixture
def trainer(chat_api: Api, serving: Serving) -> Iterator[Trainer]:
    with sharing(chat_api, serving) as trainer:
        yield trainer


@contextmanager
def sharing(api: Api, serving: Serving, share: float = 0.5) -> Iterator[Trainer]:
    with running(api, serve_share=share, scan_seconds=1) as trainer:
        wait_for(serving.rows)
        yield trainer
    wait_for(lambda: not serving.rows())


def chat(tenant: Tenant, prompt: str = "Hello", model: str = TINY, **options: Any) -> str:
    options = {"temperature": 0, "max_tokens": 24, **options}
    answer = tenant.openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], **options
    )
    return str(answer.choices[0].message.content)


def endless(tenant: Tenant, tokens: int, model: str = TINY) -> Any:
    """Begin a stream of so many tokens, and return it once the first one has come."""
    stream = tenant.openai.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        temperature=0,
        max_tokens=tokens,
        extra_body={"ignore_eos": True},
    )
    next(stream)
    return stream


def create_job(tenant: Tenant, rows: int = 24, epochs: int = 6, model: str = TINY) -> str:
    hyperparameters = {"n_epochs": epochs, "batch_size": 4}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    file = tenant.upload(dataset(rows))
    return str(tenant.create_job(model=model, training_file=file, seed=3, method=method)["id"])


def ended(api: Api, job_id: str) -> bool:
    return job_of(api, job_id).status in ENDED


def trains(trainer: Trainer) -> bool:
    return any(job.stage.is_attached for job in trainer._loop.jobs)


def weights_of(api: Api, job_id: str) -> str:
    """Return the hash of the weights that a job has published."""
    with api.sessions() as session:
        adapter = session.scalars(select(Adapter).where(Adapter.job_id == job_id)).one()
    return next(file["sha256"] for file in adapter.files if file["name"] == WEIGHTS)


def test_chats_beside_a_job_change_neither_its_adapter_nor_their_answers(
    chat_api: Api, tenant: Tenant, serving: Serving, trainer: Trainer
) -> None:
    tuned, _ = tuned_model(chat_api, tenant, serving.adapter(seed=1))
    asked = [(prompt, model) for prompt in PROMPTS for model in (TINY, tuned)]
    alone = [chat(tenant, *each) for each in asked]
    undisturbed = create_job(tenant, rows=300, epochs=1)  # one epoch: nothing waits for a checkpoint
    wait_for(lambda: ended(chat_api, undisturbed), 240)
    beside = create_job(tenant, rows=300, epochs=1)
    rounds = 0
    with ThreadPoolExecutor(len(asked)) as pool:
        while not ended(chat_api, beside):
            trained = trains(trainer)
            assert list(pool.map(lambda each: chat(tenant, *each), asked)) == alone
            rounds += trained and trains(trainer)
    assert rounds > 1, "they chatted while the job trained"
    assert weights_of(chat_api, beside) == weights_of(chat_api, undisturbed)


@pytest.mark.exhaustive
def test_a_base_model_that_no_job_trains_on_is_refused_until_the_jobs_have_ended(
    chat_api: Api, tenant: Tenant, trainer: Trainer
) -> None:
    job_id = create_job(tenant, rows=64, epochs=50)
    wait_for(lambda: trains(trainer), 240)
    assert chat(tenant)
    with pytest.raises(openai.InternalServerError) as raised:
        chat(tenant, model=TOOLS)
    assert (raised.value.status_code, raised.value.code) == (503, "device_taken")
    assert f"trains jobs on {TINY}" in raised.value.message
    stream = endless(tenant, 400)
    tenant.openai.fine_tuning.jobs.cancel(job_id)
    wait_for(lambda: not trainer._loop.jobs, 120)
    assert len(list(stream)), "the answer goes on, whatever becomes of the job"
    assert chat(tenant, model=TOOLS)
    assert trainer._process_group.holder.resident == TOOLS


@pytest.mark.exhaustive
def test_a_job_on_another_base_model_begins_when_the_answers_before_it_have_ended(
    chat_api: Api, tenant: Tenant, trainer: Trainer
) -> None:
    stream = endless(tenant, 400, TOOLS)
    base = trainer._process_group.holder.base
    job_id = create_job(tenant, epochs=1)
    assert next(reversed(list(stream))).choices[0].finish_reason == "length"
    wait_for(lambda: ended(chat_api, job_id), 240)
    assert job_of(chat_api, job_id).status == "succeeded"
    assert trainer._process_group.holder.base is not base
    assert chat(tenant)


@pytest.mark.exhaustive
def test_a_trainer_that_stops_lets_its_answers_end(chat_api: Api, tenant: Tenant, serving: Serving) -> None:
    job_id = create_job(tenant, rows=64, epochs=50)
    try:
        with sharing(chat_api, serving) as trainer:
            wait_for(lambda: trains(trainer), 240)
            stream = endless(tenant, 300)
            trainer.stop()
            assert next(reversed(list(stream))).choices[0].finish_reason == "length"
        assert job_of(chat_api, job_id).status == "queued", "and gives its jobs back"
    finally:
        tenant.openai.fine_tuning.jobs.cancel(job_id)


@pytest.mark.exhaustive
def test_an_answer_that_holds_up_a_job_for_too_long_ends_with_the_reason(
    chat_api: Api, tenant: Tenant, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.stop_times.STREAMS", 0.2)
    monkeypatch.setattr(Sampler, "step", step_with_a_rest(0.1))
    stream = endless(tenant, 400, TOOLS)
    job_id = create_job(tenant, epochs=1)
    with pytest.raises(openai.APIError, match="needs the device for another base model"):
        list(stream)
    wait_for(lambda: ended(chat_api, job_id), 240)
    assert job_of(chat_api, job_id).status == "succeeded"


def test_a_trainer_whose_port_is_taken_trains_and_answers_as_soon_as_the_port_is_free(
    chat_api: Api, tenant: Tenant, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.trainer.train.serving.AGAIN_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logs:
        port = taken.getsockname()[1]
        with running(chat_api, serve_share=0.5, serve_port=port):
            wait_for(lambda: any(entry["event"] == "server_not_started" for entry in logs), 240)
            job_id = create_job(tenant, epochs=1)
            wait_for(lambda: ended(chat_api, job_id), 240)
            taken.close()
            wait_for(serving.rows, 240)


@pytest.mark.exhaustive
def test_a_trainer_that_loads_a_base_model_for_a_chat_says_that_jobs_have_to_wait(
    chat_api: Api, serving: Serving, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, load = Event(), ModelHolder.load

    def load_slowly(holder: ModelHolder, found: FoundModel) -> None:
        said.clear()  # the trainer also waits until the store has been tested
        assert said.wait(10)
        load(holder, found)

    monkeypatch.setattr(lending, "SAY_SECONDS", 0.01)
    monkeypatch.setattr(ModelHolder, "load", load_slowly)
    with running(chat_api, said.set, serve_share=0.5, scan_seconds=1):
        wait_for(serving.rows)
        assert chat(tenant)
    wait_for(lambda: not serving.rows())
