"""Jobs, events and checkpoints by the official client, sync and async. Each answer is validated strictly."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, strictly


class Sync:
    """Calls the methods of `OpenAI`."""

    def __init__(self, tenant: Tenant, key: str | None = None) -> None:
        self.client: Any = openai.OpenAI(
            base_url=f"{tenant.api.url}/v1", api_key=key or tenant.key, max_retries=0
        )

    def ask(self, resource: str, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Return the JSON of the answer, as it came."""
        return self._call(f"{resource}.with_raw_response", method, *args, **kwargs).http_response.json()

    def every(self, resource: str, method: str, /, *args: Any, **kwargs: Any) -> list[str]:
        """Return all ids of a list, page after page."""
        return [item.id for item in self._call(resource, method, *args, **kwargs)]

    def close(self) -> None:
        self.client.close()

    def _call(self, resource: str, method: str, /, *args: Any, **kwargs: Any) -> Any:
        found = self.client
        for name in (*resource.split("."), method):
            found = getattr(found, name)
        return found(*args, **kwargs)


class Async(Sync):
    """Calls the same methods of `AsyncOpenAI`."""

    def __init__(self, tenant: Tenant, key: str | None = None) -> None:
        self.client = AsyncOpenAI(base_url=f"{tenant.api.url}/v1", api_key=key or tenant.key, max_retries=0)
        self.runner = asyncio.Runner()

    def ask(self, resource: str, method: str, /, *args: Any, **kwargs: Any) -> Any:
        async def answer() -> Any:
            raw = await self._call(f"{resource}.with_raw_response", method, *args, **kwargs)
            return raw.http_response.json()

        return self.runner.run(answer())

    def every(self, resource: str, method: str, /, *args: Any, **kwargs: Any) -> list[str]:
        async def ids() -> list[str]:
            pages: AsyncIterator[Any] = self._call(resource, method, *args, **kwargs)
            return [item.id async for item in pages]

        return self.runner.run(ids())

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=[Sync, Async])
def client(request: pytest.FixtureRequest, api: Api) -> Iterator[Sync]:
    """Return a client with a project of its own."""
    tenant = api.tenant()
    client = request.param(tenant)
    client.tenant = tenant
    yield client
    client.close()


JOBS, CHECKPOINTS = "fine_tuning.jobs", "fine_tuning.jobs.checkpoints"


def test_a_jobs_life(client: Any, api: Api) -> None:
    file = client.tenant.upload()
    created = client.ask(JOBS, "create", model=BASE_MODEL, training_file=file, metadata={"a": "b"}, seed=1)
    job = strictly(FineTuningJob, created)
    assert job.organization_id == client.tenant.project_id
    assert created["method"] == {
        "type": "supervised",
        "supervised": {"hyperparameters": created["hyperparameters"]},
    }
    for method, status in (
        ("retrieve", "queued"),
        ("pause", "paused"),
        ("resume", "queued"),
        ("cancel", "cancelled"),
    ):
        answer = client.ask(JOBS, method, job.id)
        assert answer["status"] == status
        strictly(FineTuningJob, answer | ({"status": "queued"} if status == "paused" else {}))


def test_lists_to_their_ends(client: Any, api: Api) -> None:
    file = client.tenant.upload()
    made = [client.tenant.create_job(training_file=file, metadata={"n": str(n % 2)}) for n in range(5)]
    ids = [job["id"] for job in reversed(made)]
    assert client.every(JOBS, "list", limit=2) == ids
    assert client.every(JOBS, "list", limit=1, metadata={"n": "1"}) == [ids[1], ids[3]]
    for shown in client.ask(JOBS, "list")["data"]:
        strictly(FineTuningJob, shown)

    lease = api.claim(ids[0])
    checkpoints = [api.checkpoint(lease, step, train_loss=0.5, valid_loss=1.0) for step in (3, 6, 9)]
    assert client.every(CHECKPOINTS, "list", ids[0], limit=2) == checkpoints[::-1]
    for shown in client.ask(CHECKPOINTS, "list", ids[0])["data"]:
        strictly(FineTuningJobCheckpoint, shown)

    events = client.ask(JOBS, "list_events", ids[0])["data"]
    assert client.every(JOBS, "list_events", ids[0], limit=1) == [event["id"] for event in events]
    assert len(events) == 3 + len(checkpoints)
    for shown in events:
        strictly(FineTuningJobEvent, shown)
    for resource, method in ((JOBS, "list_events"), (CHECKPOINTS, "list")):
        nothing = client.ask(resource, method, ids[0], limit=0)
        assert (nothing["object"], nothing["data"], nothing["has_more"]) == ("list", [], True)


@pytest.mark.parametrize(
    ("error", "call", "kwargs"),
    [
        (openai.NotFoundError, ("retrieve", "ftjob-unheard-of"), {}),
        (openai.NotFoundError, ("list_events", "ftjob-unheard-of"), {}),
        (openai.BadRequestError, ("create",), {"model": "gpt-9", "training_file": "file-x"}),
        (
            openai.BadRequestError,
            ("create",),
            {"model": BASE_MODEL, "training_file": "file-x", "method": {"type": "dpo"}},
        ),
    ],
)
def test_errors_are_the_clients_own(client: Any, error: Any, call: tuple[str, ...], kwargs: Any) -> None:
    with pytest.raises(error) as raised:
        client.ask(JOBS, *call, **kwargs)
    assert raised.value.request_id
    assert raised.value.body.keys() >= {"message", "type", "param", "code"}


def test_a_conflict_and_a_wrong_key_are_the_clients_own_errors(client: Any) -> None:
    file = client.tenant.upload()
    client.tenant.create_job(training_file=file)
    with pytest.raises(openai.ConflictError) as in_use:
        client.ask("files", "delete", file)
    answer: httpx.Response = in_use.value.response
    assert answer.headers["x-should-retry"] == "false"
    stranger = type(client)(client.tenant, key="tnr_wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.ask(JOBS, "list")
    stranger.close()
