"""`tunery chat` as a user runs it: through a pipe, and in a terminal."""

import json
import os
import pty
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.api import Api, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.service.shell import COMMAND, Shell


@pytest.fixture(scope="module")
def slow_server(serving: Serving) -> ServerProcess:
    return serving.start(rest=0.02)


@pytest.fixture
def tunery(chat_api: Api, slow_server: ServerProcess, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": chat_api.tenant().key})


class Terminal:
    """What a person sees and types while a command runs."""

    def __init__(self, process: "Popen[bytes]", line: int) -> None:
        self.process, self._line, self.shown = process, line, ""

    def type(self, text: str) -> None:
        os.write(self._line, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows the text, and forget what came up to it."""

        def seen() -> bool:
            if select.select([self._line], [], [], 0)[0]:
                self.shown += os.read(self._line, 4096).decode(errors="replace")
            return text in self.shown

        wait_for(lambda: text in self.shown or seen())
        self.shown = self.shown.partition(text)[2]


@contextmanager
def terminal(shell: Shell, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = nursery().subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=shell.cwd,
        env=shell.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(60)
        os.close(ours)


def test_what_comes_through_a_pipe_is_answered_on_stdout(tunery: Shell) -> None:
    ended = tunery.run("chat", TINY, "--temperature", "0", "--max-tokens", "5", input="Hello")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    whole = tunery.run("chat", TINY, "--temperature", "0", "--max-tokens", "5", "--json", input="Hello")
    answer = json.loads(whole.stdout)
    assert answer["object"] == "chat.completion"
    assert answer["usage"]["completion_tokens"] <= 5


def test_a_system_message_comes_first(tunery: Shell) -> None:
    counts = [
        json.loads(tunery.run("chat", TINY, *system, "--max-tokens", "1", "--json", input="Hello").stdout)
        for system in ([], ["--system", "Be brief."])
    ]
    assert counts[0]["usage"]["prompt_tokens"] < counts[1]["usage"]["prompt_tokens"]


def test_an_unknown_model_is_refused_in_a_sentence_that_names_a_command(tunery: Shell) -> None:
    ended = tunery.run("chat", "unheard-of", input="Hello")
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith(
        "Error: The model 'unheard-of' does not exist. `tunery models list` lists"
    )
    for_programs = tunery.run("chat", "unheard-of", "--json", input="Hello").stderr
    assert "GET /v1/models lists" in json.loads(for_programs)["error"]["message"]


def test_in_a_terminal_ctrl_c_stops_one_answer_and_ctrl_d_ends_the_chat(
    tunery: Shell, slow_server: ServerProcess
) -> None:
    with terminal(tunery, "chat", TINY, "--temperature", "0") as person:  # it ends with its length alone
        person.wait_for("Ctrl-D ends the chat")
        person.wait_for("> ")
        person.type("Hello\n")
        wait_for(lambda: slow_server.state()["requests"] == 1)
        person.process.send_signal(signal.SIGINT)
        person.wait_for("Stopped.")
        wait_for(lambda: slow_server.state()["requests"] == 0)
        person.wait_for("> ")
        person.type("\x04")
        assert person.process.wait(60) == 0
