"""Prompts are made by processes with limits: what a template, a text or a client does harms only itself."""

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from tests.fixtures.models import tiny
from tests.fixtures.processes import calls
from tests.fixtures.processes.processes import named
from tests.fixtures.service.api import wait_for
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer
from worker.server import threads
from worker.server.answering.prompts import chat_prompt
from worker.server.exchange import Exchange
from worker.server.sampling.longest_token import Room
from worker.server.sampling.prompting import SHORT_BYTES, Prompting

SECONDS = 120
LOOPS = (
    "{% if messages[0].content == 'loop' %}{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}{% endif %}" + tiny.TEMPLATE
)
Scenario = Callable[[Prompting], Awaitable[None]]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    found = Renderer()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = tiny.text()
    tokenizer.chat_template = LOOPS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run(renderer: Renderer, folder: Path) -> Callable[[Scenario], None]:
    def run(scenario: Scenario) -> None:
        async def bounded() -> None:
            prompting = Prompting(renderer, folder, CallsRequest(seconds=1))
            async with asyncio.timeout(SECONDS):
                await scenario(prompting)
            prompting.close()

        asyncio.run(bounded())

    return run


def exchange(project: str = "a", body_bytes: int = 100) -> Exchange:
    return cast(Exchange, SimpleNamespace(project=project, body_bytes=body_bytes))


def chat(text: str) -> Callable[[Any], Any]:
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": text}]})
    return partial(chat_prompt, request=request, room=Room(512, None))


def renderings() -> list[psutil.Process]:
    """Return the children of the newest render process: other tests may have left older ones."""
    processes = named("worker.rendering.render_process", psutil.Process().children())
    return max(processes, key=psutil.Process.create_time).children()


def test_a_template_that_loops_is_refused_in_time_and_the_next_prompt_is_made(run: Any) -> None:
    async def scenario(prompting: Prompting) -> None:
        with pytest.raises(InvalidRequest, match="more than 1 s") as refused:
            await prompting.make(exchange(), chat("loop"))
        assert refused.value.code == "prompt_too_costly"
        prompt, *_ = await prompting.make(exchange(), chat("hi"))
        assert tiny.text().decode(prompt).startswith("<|im_start|>user\nhi<|im_end|>")

    run(scenario)


def test_a_short_prompt_does_not_wait_for_a_long_one(run: Any) -> None:
    async def scenario(prompting: Prompting) -> None:
        long = asyncio.create_task(prompting.make(exchange(body_bytes=SHORT_BYTES + 1), chat("loop")))
        await asyncio.sleep(0)
        await prompting.make(exchange("b"), chat("hi"))
        assert not long.done()
        with pytest.raises(InvalidRequest):
            await long

    run(scenario)


def test_a_prompt_whose_client_has_left_ends_its_process_and_the_next_one_is_made(run: Any) -> None:
    async def scenario(prompting: Prompting) -> None:
        await prompting.make(exchange(), chat("hi"))
        await asyncio.to_thread(wait_for, lambda: len(renderings()) == 1)  # those of other tests have ended
        [process] = renderings()
        task = asyncio.create_task(prompting.make(exchange(), chat("loop")))
        await asyncio.to_thread(wait_for, lambda: process.status() == psutil.STATUS_RUNNING)
        task.cancel()
        await prompting.make(exchange("b"), chat("hi"))
        await asyncio.to_thread(wait_for, lambda: not process.is_running())

    run(scenario)


def test_a_project_whose_clients_leave_has_no_more_processes_at_work(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOOK_SECONDS", 1.0)  # much longer than it takes to ask and to leave

    async def scenario(prompting: Prompting) -> None:
        await asyncio.to_thread(wait_for, lambda: not renderings())  # those of other tests have ended
        for number in range(5):
            call = partial(calls.loop, begun=tmp_path / f"{number}")
            task = asyncio.create_task(prompting.make(exchange(), call))
            await asyncio.to_thread(wait_for, (tmp_path / f"{number}").exists)
            assert len(renderings()) <= 2  # one that ends now, and this one
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(scenario)


@pytest.mark.exhaustive
def test_a_prompt_that_takes_its_process_all_its_time_is_not_tried_again(run: Any, tmp_path: Path) -> None:
    async def scenario(prompting: Prompting) -> None:
        await prompting.make(exchange(), chat("hi"))
        tries = tmp_path / "tries"
        with pytest.raises(InvalidRequest, match="died"):
            await prompting.make(exchange(), partial(calls.compute_natively, tries=tries))
        assert tries.read_text() == "x"

    run(scenario)


def test_a_process_that_is_killed_writes_no_core_file_with_texts_of_clients(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    renderer = Renderer()
    resource.setrlimit(resource.RLIMIT_CORE, before)
    with renderer.calls(folder, CallsRequest()) as channel:
        channel.send(calls.core_bytes)
        assert channel.recv() == 0
    renderer.close()


def test_a_prompt_that_kills_its_process_twice_is_refused_and_others_are_made(run: Any) -> None:
    async def scenario(prompting: Prompting) -> None:
        with pytest.raises(InvalidRequest, match="died") as refused:
            await prompting.make(exchange(), calls.die)
        assert refused.value.code == "prompt_too_costly"
        await prompting.make(exchange("b"), chat("hi"))

    run(scenario)


def test_the_process_that_reads_what_nobody_has_checked_has_no_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TUNERY_SECRET_KEYS", "TUNERY_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    renderer = Renderer()
    with renderer.calls(folder, CallsRequest()) as channel:
        channel.send(calls.environment)
        environment = channel.recv()
    renderer.close()
    assert "PATH" in environment
    assert "a secret" not in environment.values()
