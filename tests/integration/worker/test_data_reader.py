"""Reading a job's files from the real store, in a thread beside the training thread."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from transformers import AutoTokenizer

from core.errors import LeaseLost
from core.jobs.lifecycle import BEFORE_TRAINING, Progress
from core.tables import Job, Run
from tests.fixtures.api import Api, Tenant, dataset
from tests.fixtures.tiny import save_model, text, tiny_llama
from worker.data.reader import DataReader
from worker.report.job_lease import JobLease

WHOLE, CUT = 512, 25  # tokens; a row has a few more tokens than CUT


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    save_model(tiny_llama(), folder, text)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def job_lease(api: Api, alice: Tenant) -> Iterator[JobLease]:
    job_id = alice.create_job(validation_file=alice.upload(dataset(10)))["id"]
    job_lease = JobLease(api.sessions, api.claim(job_id), time.monotonic())
    yield job_lease
    job_lease.close()


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as readers:
        yield readers


def job_of(api: Api, job_lease: JobLease) -> Job:
    with api.sessions() as session:
        return session.get_one(Job, job_lease.lease.job_id)


def test_while_rows_are_read_a_job_that_goes_on_shows_where_it_stood(
    api: Api, tokenizer: Any, job_lease: JobLease, readers: ThreadPoolExecutor
) -> None:
    stood = Progress("training", 7, 9, 0.5, trained_tokens=50, best_valid_loss=0.25, best_step=6)
    job_lease.progress(stood)
    DataReader(job_of(api, job_lease), tokenizer, WHOLE, api.store, job_lease, readers).data.result(30)
    job_lease.commit(lambda _session: None)
    with api.sessions() as session:
        run = session.get_one(Run, (job_lease.lease.job_id, job_lease.lease.fence))
    assert run.phase in BEFORE_TRAINING
    for name, value in vars(replace(stood, phase=run.phase)).items():
        assert getattr(run, name) == value


def test_both_files_are_read_and_the_client_hears_of_rows_that_were_cut(
    api: Api, alice: Tenant, tokenizer: Any, job_lease: JobLease, readers: ThreadPoolExecutor
) -> None:
    job = job_of(api, job_lease)
    data = DataReader(job, tokenizer, CUT, api.store, job_lease, readers).data.result(30)
    assert (data.training_file.id, len(data.training_rows)) == (job.training_file_id, 12)
    assert data.validation_file is not None
    assert (data.validation_file.id, len(data.validation_rows)) == (job.validation_file_id, 10)
    job_lease.commit(lambda _session: None)
    messages = [event.message for event in alice.openai.fine_tuning.jobs.list_events(job.id)]
    for param in ("training_file", "validation_file"):
        assert any(message.startswith(f"{param}: lines 1, 2") for message in messages)


def test_a_job_that_leaves_is_not_read_to_its_end(
    api: Api,
    tokenizer: Any,
    job_lease: JobLease,
    readers: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    render, rendered, started = tokenizer.apply_chat_template, [], threading.Event()

    def leave_and_render(messages: Any, **options: Any) -> Any:
        rendered.append(messages)
        reader.close()
        return render(messages, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "apply_chat_template", leave_and_render)
        readers.submit(started.wait)
        reader = DataReader(job_of(api, job_lease), tokenizer, WHOLE, api.store, job_lease, readers)
        started.set()
        with pytest.raises(LeaseLost):
            reader.data.result(30)
    assert len(rendered) == 1
