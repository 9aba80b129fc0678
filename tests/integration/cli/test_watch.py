"""`tunery jobs wait` and `jobs logs -f`: their exit codes, their output, and a restart of the server."""

import json
import os
import pty
import re
import select
import signal
import socket
import threading
import time

import pytest
from sqlalchemy.engine import make_url

from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.jobs.lifecycle import Lease, Progress
from core.work import lease as task_leases
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, wait_for
from tests.fixtures.service.shell import DEADLINE, Shell
from tests.fixtures.work.evals_api import queued_run, take_run


def fail(api: Api, lease: Lease) -> None:
    with api.sessions.begin() as session:
        lifecycle.fail(session, lease, JobError("out_of_memory", "The longest row does not fit."))


def advance(api: Api, lease: Lease, step: int, loss: float) -> None:
    """Write the progress and the event of one optimizer step of ten, as a trainer does."""
    progress = Progress("training", step, 10, step / 10, tokens_per_second=1234.5, seconds_left=119.0)
    with api.sessions.begin() as session:
        lifecycle.renew(session, lease, progress)
        data = {"step": step, "train_loss": loss}
        record_event(session, lease.job_id, f"Step {step}/10", data=data, type="metrics")


@pytest.mark.parametrize("command", [["wait"], ["logs", "-f"]])
def test_a_failed_job_is_exit_code_4_with_its_error(
    tunery: Shell, api: Api, alice: Tenant, command: list[str]
) -> None:
    job = alice.create_job()
    fail(api, api.claim(job["id"]))
    ended = tunery.run("jobs", *command, job["id"], "--json")
    assert ended.returncode == 4
    assert all(json.loads(line) for line in ended.stdout.splitlines())
    assert "The longest row does not fit. (out_of_memory)" in ended.stderr


def test_following_ends_with_5_when_the_job_is_cancelled_meanwhile(tunery: Shell, alice: Tenant) -> None:
    job = alice.create_job()
    with tunery.running("jobs", "logs", "-f", job["id"]) as follower:
        assert follower.stdout is not None
        first = follower.stdout.readline()
        assert "Created fine-tuning job" in first
        alice.http.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
        rest, errors = follower.communicate(timeout=DEADLINE)
    assert follower.returncode == 5
    assert "cancelled" in rest
    assert "cancelled" in errors


@pytest.mark.parametrize("command", [["wait"], ["logs", "-f"]])
def test_watching_ends_with_6_where_the_job_is_paused(
    tunery: Shell, alice: Tenant, command: list[str]
) -> None:
    """The command must not wait for ever: nobody knows when the job is resumed."""
    job = alice.create_job()
    with tunery.running("jobs", *command, job["id"], "--json") as watching:
        assert watching.stderr is not None
        assert watching.stdout is not None
        (watching.stderr if command == ["wait"] else watching.stdout).readline()
        alice.openai.fine_tuning.jobs.pause(job["id"])
        printed, errors = watching.communicate(timeout=DEADLINE)
    assert watching.returncode == 6
    assert f"tunery jobs resume {job['id']}" in errors
    if command == ["wait"]:
        assert json.loads(printed)["status"] == "paused"


def test_create_wait_returns_how_the_job_ended(tunery: Shell, api: Api, alice: Tenant) -> None:
    arguments = ["jobs", "create", alice.upload(), "--model", BASE_MODEL, "--wait", "--json"]
    with tunery.running(*arguments) as waiting:
        assert waiting.stderr is not None
        created = waiting.stderr.readline()
        fail(api, api.claim(created.split()[-1]))
        printed, _ = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 4
    assert json.loads(printed)["status"] == "failed"


def test_an_interrupted_wait_is_130_and_leaves_the_job_alone(tunery: Shell, alice: Tenant) -> None:
    job = alice.create_job()
    with tunery.running("jobs", "wait", job["id"]) as waiting:
        assert waiting.stderr is not None
        waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        printed, errors = waiting.communicate(timeout=DEADLINE)
    assert (waiting.returncode, printed) == (130, "")
    assert "The job goes on" in errors
    assert "Traceback" not in errors
    assert alice.job(job["id"])["status"] == "queued"


def test_progress_without_a_terminal_is_plain_lines(tunery: Shell, api: Api, alice: Tenant) -> None:
    job = alice.create_job()
    lease = api.claim(job["id"])
    advance(api, lease, 4, loss=1.75)
    with tunery.running("jobs", "wait", job["id"]) as waiting:
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
        fail(api, lease)
        waiting.communicate(timeout=DEADLINE)
    assert re.fullmatch(r"training  step 4/10  loss 1\.750  1,23[45] tokens/s  1m\d\ds left\n", line)


def test_progress_in_a_terminal_is_a_live_bar(tunery: Shell, api: Api, alice: Tenant) -> None:
    job = alice.create_job()
    lease = api.claim(job["id"])
    advance(api, lease, 4, loss=1.75)
    ours, theirs = pty.openpty()
    tunery.variables |= {"TERM": "xterm", "COLUMNS": "120"}
    with tunery.running("jobs", "wait", job["id"], "--json", stderr=theirs) as waiting:
        os.close(theirs)
        screen = read_until(ours, "step 4/10")
        advance(api, lease, 5, loss=1.5)
        screen += read_until(ours, "step 5/10  loss 1.500")
        fail(api, lease)
        printed, _ = waiting.communicate(timeout=DEADLINE)
    os.close(ours)
    assert "━" in screen
    assert json.loads(printed)["status"] == "failed", "the bar must not reach stdout"


def test_a_wait_outlives_a_restart_of_the_server(tunery: Shell, api: Api, alice: Tenant) -> None:
    job = alice.create_job()
    relay = Relay(api.url)
    tunery.variables["TUNERY_BASE_URL"] = relay.url
    with tunery.running("jobs", "wait", job["id"], "--json") as waiting:
        assert waiting.stderr is not None
        assert "queued" in waiting.stderr.readline()
        relay.stop()
        assert "Trying again" in waiting.stderr.readline()
        relay.start()
        fail(api, api.claim(job["id"]))
        waiting.communicate(timeout=DEADLINE)
    relay.stop()
    assert waiting.returncode == 4


def test_a_wait_for_a_run_outlives_a_restart_and_a_failed_run_is_exit_code_4(
    tunery: Shell, api: Api, alice: Tenant
) -> None:
    arguments = ["evaluate", BASE_MODEL, "--file", alice.upload(), "--rows", "1"]
    relay = Relay(api.url)
    tunery.variables["TUNERY_BASE_URL"] = relay.url
    with tunery.running(*arguments) as waiting:
        assert waiting.stderr is not None
        run = wait_for(lambda: queued_run(api))
        while "queued" not in waiting.stderr.readline():
            pass
        relay.stop()
        assert "Trying again" in waiting.stderr.readline()
        relay.start()
        lease = take_run(api, run.id)
        with api.sessions.begin() as session:
            task_leases.fail(session, lease, JobError("no_server", "No server has this model."))
        shown, told = waiting.communicate(timeout=DEADLINE)
    shown_later = tunery.run("evals", "show", str(run.eval_id)).stdout
    relay.stop()
    assert waiting.returncode == 4, told
    assert f"The run of {BASE_MODEL} failed: No server has this model." in told
    assert "No server has this model." in shown
    assert shown_later == shown


def read_until(terminal: int, text: str) -> str:
    """Return the output of the terminal, up to and with `text`."""
    shown = ""
    deadline = time.monotonic() + DEADLINE
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode("utf-8", "replace")
    return shown


class Relay:
    """A TCP port in front of the API. A test closes and opens it, as a restart of the API would."""

    def __init__(self, url: str) -> None:
        parts = make_url(url)
        self._target = (str(parts.host), int(parts.port or 0))
        self._port = free_port()  # nobody else takes it while it is closed
        self._open: list[socket.socket] = []
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        for open_socket in (self._listener, *self._open):
            with_shutdown(open_socket)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(source, sink), daemon=True).start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while block := source.recv(65536):
            sink.sendall(block)
    except OSError:
        pass
    finally:
        with_shutdown(source)
        with_shutdown(sink)


def with_shutdown(open_socket: socket.socket) -> None:
    """Close the socket, and wake the threads that wait on it."""
    try:
        open_socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        open_socket.close()
