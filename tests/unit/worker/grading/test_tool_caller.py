"""Results of tools are rendered by a process that may die: what a turn does to it costs no other turn."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from tokenizers import models

from core.endpoints.tools import EndpointTool, ToolCall
from tests.fixtures.models import tiny
from tests.fixtures.processes.processes import named
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, TAGGED_TEMPLATE, answer, call, calls
from tests.fixtures.service.api import wait_for
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.row_failed import RowFailed
from worker.grading.tool_caller import ToolCaller
from worker.grading.tool_results import ToolResults
from worker.grading.usage import UsageSums
from worker.rendering.render_request import CallsRequest
from worker.rendering.renderer import Renderer

ROW = {"messages": [ASKED], "tools": [RAIN_TOOL]}
LOOP, ODD = "loop", "~"
LOOPS = (
    "{% for message in messages %}{% if message.content == '" + LOOP + "' %}{% for a in range(99999) %}"
    "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}{% endfor %}" + TAGGED_TEMPLATE
)
DIED = "The process that renders the results of tools died."


class Outputs:
    """Endpoints whose tools return their arguments. Without any, the tool fails."""

    async def call(self, _: EndpointTool, call: ToolCall, __: Any, ___: str) -> str:
        if not call.arguments:
            raise RowFailed("tool_error", "The tool 'rain' gave no output: it answered 500.")
        return call.arguments


class Brief(Renderer):
    """A renderer whose calls may compute for a second. It counts the processes that it begins."""

    begun = 0
    dying = False  # whether a process is killed before it is asked anything

    def calls(self, tokenizer: Path, request: CallsRequest) -> Connection:
        channel = super().calls(tokenizer, replace(request, seconds=1))
        self.begun += 1
        if self.dying:
            kill(*wait_for(lambda: self.children, 30))
        return channel

    @property
    def process(self) -> psutil.Process:
        """The process that forks one child for each channel."""
        return psutil.Process(self._process.pid)

    @property
    def children(self) -> list[psutil.Process]:
        return self.process.children()


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, 10)
    assert not any(named("worker.rendering.render_process", processes))


@pytest.fixture(scope="module")
def renderer() -> Iterator[Brief]:
    found = Brief()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenizer that raises an error of its own for the character `ODD`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = tiny.text()
    vocabulary = {word: index for word, index in tokenizer.get_vocab().items() if word != ODD}
    tokenizer.backend_tokenizer.model = models.BPE(vocab=vocabulary, merges=[], unk_token="<none>")
    tokenizer.chat_template = LOOPS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def caller(renderer: Brief, folder: Path) -> Iterator[ToolCaller]:
    renderer.begun, renderer.dying = 0, False
    tool = EndpointTool.model_validate({"name": "rain", "server_url": "https://tools.example.com"})
    found = ToolCaller(cast(ProjectEndpoints, Outputs()), {"rain": tool}, renderer, folder)
    yield found
    found.close()


async def called(caller: ToolCaller, *outputs: str) -> ToolResults:
    """Return the results of a turn whose calls have these outputs."""
    made = [ToolCall(f"call_{number}", "rain", output) for number, output in enumerate(outputs)]
    turn = calls(*(call(id=each.id) for each in made))
    end_token = tiny.text().convert_tokens_to_ids("<|im_end|>")
    return await caller.call(ROW, [turn], made, "trace_1", end_token, UsageSums())


def shown(results: ToolResults) -> str:
    """Return what the model is shown of the results of a turn."""
    assert results.error is None
    return str(tiny.text().decode(list(results.tokens)))


def expected(*outputs: str) -> str:
    responses = "".join(f"\n<tool_response>\n{output}\n</tool_response>" for output in outputs)
    return f"\n<|im_start|>user{responses}<|im_end|>\n<|im_start|>assistant\n"


def test_the_results_of_a_turn_are_messages_and_tokens(caller: ToolCaller) -> None:
    found = asyncio.run(called(caller, "dry", "wet"))
    assert found.messages == [answer("dry", id="call_0"), answer("wet", id="call_1")]
    assert shown(found) == expected("dry", "wet")


def test_a_tool_that_fails_costs_its_answer_all_results(caller: ToolCaller) -> None:
    found = asyncio.run(called(caller, "dry", ""))
    assert found == ToolResults(error="The tool 'rain' gave no output: it answered 500.")


def test_one_process_renders_the_turns_of_answers_that_call_side_by_side(
    caller: ToolCaller, renderer: Brief
) -> None:
    async def scenario() -> list[ToolResults]:
        return await asyncio.gather(*(called(caller, f"{number} mm") for number in range(4)))

    found = asyncio.run(scenario())
    assert [shown(each) for each in found] == [expected(f"{number} mm") for number in range(4)]
    assert renderer.begun == 1


def test_an_answer_gets_its_tokens_though_the_process_was_killed_before(
    caller: ToolCaller, renderer: Brief
) -> None:
    kill(renderer.process)
    assert shown(asyncio.run(called(caller, "dry"))) == expected("dry")


@pytest.mark.parametrize("all_die", [True, False])
def test_the_next_answer_gets_its_tokens_though_the_process_was_killed_between(
    caller: ToolCaller, renderer: Brief, all_die: bool
) -> None:
    async def scenario() -> list[ToolResults]:
        first = await called(caller, "dry")
        kill(*renderer.children, *([renderer.process] if all_die else []))
        return [first, await called(caller, "wet"), await called(caller, "wet")]

    assert [shown(each) for each in asyncio.run(scenario())] == [
        expected(each) for each in ("dry", "wet", "wet")
    ]
    assert renderer.begun == 2


def test_an_answer_is_tried_once_more_alone(caller: ToolCaller, renderer: Brief) -> None:
    async def scenario() -> None:
        await called(caller, "dry")
        kill(*renderer.children)
        renderer.dying = True
        assert await called(caller, "dry") == ToolResults(error=DIED)
        assert renderer.begun == 2
        renderer.dying = False
        assert shown(await called(caller, "wet")) == expected("wet")

    asyncio.run(scenario())


def test_a_template_that_loops_costs_its_answer_alone(caller: ToolCaller) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60):
            looped, dry = await asyncio.gather(called(caller, LOOP), called(caller, "dry"))
        assert looped.error is not None
        assert "take more than 1 s" in looped.error
        assert shown(dry) == expected("dry")

    asyncio.run(scenario())


def test_an_error_that_nobody_foresaw_costs_its_answer_alone(
    caller: ToolCaller, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> list[ToolResults]:
        return [await called(caller, each) for each in ("dry", ODD, "wet")]

    dry, odd, wet = asyncio.run(scenario())
    assert (shown(dry), shown(wet)) == (expected("dry"), expected("wet"))
    assert odd == ToolResults(error="The results of the tools cannot be rendered.")
    assert "not found in the vocabulary" in "".join(capfd.readouterr()), "operators see why"
