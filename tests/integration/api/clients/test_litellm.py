"""LiteLLM's calls for files and fine-tuning jobs, by `api_base`, sync and async, on a real API."""

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from core.errors import JobError
from core.jobs import lifecycle
from tests.fixtures.service.api import BASE_MODEL, Api, dataset

pytestmark = pytest.mark.slow

Call = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, litellm: ModuleType, api: Api) -> Iterator[Call]:
    """Return a function that calls LiteLLM's function of a name, or its async twin, for a new project."""
    tenant = api.tenant()
    to = {
        "custom_llm_provider": "openai",
        "api_base": f"{api.url}/v1",
        "api_key": tenant.key,
        "max_retries": 0,
    }
    with asyncio.Runner() as runner:

        def call(name: str, /, **arguments: Any) -> Any:
            if request.param == "sync":
                return getattr(litellm, name)(**to | arguments)
            return runner.run(getattr(litellm, f"a{name}")(**to | arguments))

        yield call


def upload(call: Call) -> str:
    return str(call("create_file", file=("train.jsonl", io.BytesIO(dataset(12))), purpose="fine-tune").id)


def test_files_are_uploaded_listed_read_and_deleted(call: Call) -> None:
    file = upload(call)
    assert call("file_retrieve", file_id=file).filename == "train.jsonl"
    assert [shown.id for shown in call("file_list").data] == [file]
    assert call("file_content", file_id=file).content == dataset(12)
    assert call("file_delete", file_id=file).deleted
    assert not list(call("file_list").data)


@pytest.mark.exhaustive
def test_a_job_is_created_listed_retrieved_and_cancelled(call: Call) -> None:
    file = upload(call)
    made = [
        call(
            "create_fine_tuning_job",
            model=f"openai/{BASE_MODEL}",
            training_file=file,
            validation_file=file,
            hyperparameters={"n_epochs": 2},
            suffix=f"run-{number}",
            seed=number,
        )
        for number in range(3)
    ]
    assert all((job.status, job.hyperparameters.n_epochs) == ("queued", 2) for job in made)
    ids = [job.id for job in reversed(made)]
    page = call("list_fine_tuning_jobs", limit=2)
    assert ([job.id for job in page.data], page.has_more) == (ids[:2], True)
    assert [job.id for job in call("list_fine_tuning_jobs", after=ids[1]).data] == ids[2:]

    retrieved = call("retrieve_fine_tuning_job", fine_tuning_job_id=ids[0])
    assert (retrieved.model, retrieved.seed, retrieved.training_file) == (BASE_MODEL, 2, file)
    assert call("cancel_fine_tuning_job", fine_tuning_job_id=ids[0]).status == "cancelled"
    assert call("retrieve_fine_tuning_job", fine_tuning_job_id=ids[0]).status == "cancelled"


def test_jobs_that_have_ended_are_read_with_what_came_of_them(call: Call, api: Api, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    file = upload(call)
    good, bad = (
        call("create_fine_tuning_job", model=BASE_MODEL, training_file=file, suffix="fine").id
        for _ in range(2)
    )
    api.finish(api.claim(good), tmp_path)
    lease = api.claim(bad)
    with api.sessions.begin() as session:
        lifecycle.fail(session, lease, JobError("bad_loss", "The loss is not finite."))

    succeeded = call("retrieve_fine_tuning_job", fine_tuning_job_id=good)
    assert (succeeded.status, succeeded.trained_tokens) == ("succeeded", 1234)
    assert succeeded.fine_tuned_model.startswith(f"ft:{BASE_MODEL}:")
    table = call("file_content", file_id=succeeded.result_files[0]).content
    assert base64.b64decode(table).startswith(b"step,")
    failed = call("retrieve_fine_tuning_job", fine_tuning_job_id=bad)
    assert (failed.status, failed.error.code) == ("failed", "bad_loss")


@pytest.mark.parametrize(
    ("error", "name", "arguments"),
    [
        ("AuthenticationError", "list_fine_tuning_jobs", {"api_key": "tnr_wrong"}),
        ("NotFoundError", "retrieve_fine_tuning_job", {"fine_tuning_job_id": "ftjob-unheard-of"}),
        ("NotFoundError", "cancel_fine_tuning_job", {"fine_tuning_job_id": "ftjob-unheard-of"}),
        ("BadRequestError", "create_fine_tuning_job", {"model": "gpt-9", "training_file": "file-x"}),
        ("BadRequestError", "create_file", {"file": ("a.jsonl", b"no row"), "purpose": "fine-tune"}),
    ],
)
def test_errors_become_litellms_own(
    litellm: ModuleType, call: Call, error: str, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(getattr(openai, error)) as raised:
        call(name, **arguments)
    # These calls let the client's error through; the proxy and the router map it by this function.
    with pytest.raises(getattr(litellm, error)) as mapped:
        litellm.exception_type(
            model=BASE_MODEL, original_exception=raised.value, custom_llm_provider="openai"
        )
    assert raised.value.body["message"] in str(mapped.value)
