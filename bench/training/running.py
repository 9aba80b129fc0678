"""Runs a measured script in a process with a clean environment, ends it, and explains a failure in a line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.training.trainers import UNTUNED, Trainer
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.supervisor.losses import describe_exit

LIMIT_SECONDS = 3 * 3600  # for one run
GRACE_SECONDS = 150  # longer than bench/training/service.py takes to stop its service
RAISED = re.compile(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)\b.*")
REASON_LENGTH = 200


class RunFailed(Exception):
    """A run has no result. The message is the reason, in one line."""


def say(text: str) -> None:
    print(text, flush=True)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def run_script(
    python: Path | None, module: str, arguments: list[str], environment: dict[str, str]
) -> dict[str, Any]:
    """Run `python -m module` and return what it writes to the file that `--out` names. Raises RunFailed."""
    if python is None:
        raise RunFailed("its environment could not be installed")
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "result.json", Path(folder) / "log"
        code = run_logged([str(python), "-m", module, *arguments, "--out", str(out)], environment, log)
        if code != 0 or not out.exists():
            raise RunFailed(reason_of(code, log.read_text(errors="replace")))
        result: dict[str, Any] = json.loads(out.read_text())
    return result


def run_trainer(
    trainer: Trainer, python: Path | None, base: Path, rows: Path, batch_size: int, rank: int, adapter: Path
) -> dict[str, Any]:
    """Run one job with one trainer, and return the contents of its result file. Raises RunFailed."""
    arguments = ["--base", str(base), "--data", str(rows), "--batch-size", str(batch_size)]
    arguments += ["--mode", trainer.mode, "--rank", str(rank), "--adapter", str(adapter)]
    return run_script(python, trainer.module, arguments, trainer.environment)


def validate(base: Path, pairs: list[tuple[Path, Path]]) -> tuple[list[float], float]:
    """Return the loss of each adapter on its rows, and the base's mean over the files. Raises RunFailed."""
    say(f"validating {len(pairs)} adapters")
    arguments = ["--base", str(base)]
    for adapter, rows in pairs:
        arguments += ["--pair", str(adapter), str(rows)]
    report = run_script(Path(sys.executable), "bench.training.validation", arguments, TRAINER_ENVIRONMENT)
    before = list(report["before"].values())
    return report["losses"], sum(before) / len(before)


def run_logged(
    command: list[str], environment: dict[str, str], log: Path, limit_seconds: float = LIMIT_SECONDS
) -> int:
    """Run a command to its end and return the exit status. Raises RunFailed after `limit_seconds`."""
    clean = {name: value for name, value in os.environ.items() if name not in UNTUNED}
    variables = {**clean, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **environment}
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return child.wait(limit_seconds)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"not done after {limit_seconds / 60:.0f} minutes") from None
    finally:
        if child.returncode is None:  # out of time, or Ctrl-C
            end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """Stop the child and its own children. SIGTERM comes first, since one may be a service with servers."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def reason_of(code: int, printed: str) -> str:
    """Return the reason in one line: the signal, else the last printed exception, else the last line."""
    if code < 0:
        return describe_exit(code).sentence
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    raised = [line for line in lines if RAISED.match(line)]
    return (raised or lines or [f"ended with status {code} and no result"])[-1][:REASON_LENGTH]
