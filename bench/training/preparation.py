"""Prepares a measurement: the base, the Pythons of the peers, and the machine's ceiling."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from bench import ROOT
from bench.peers.measuring import Tokens, count_tokens, read_conversations
from bench.peers.venvs import create, imports, interpreter
from bench.training.running import say
from core.catalog import SMOLLM2
from core.errors import JobError

MODULE_OF = {
    "hf": "peft"
}  # the module that shows that an environment is complete, if it is not named as the peer


@dataclass(frozen=True)
class Measured:
    """The report of `bench/training/machine.py`."""

    machine: dict[str, Any]
    gflops: dict[str, float]
    """10^9 operations per second by type."""

    @property
    def best(self) -> float:
        """The rate in the faster type, in which a trainer on this machine should compute."""
        return max(self.gflops.values())


def ceiling_of(before: Measured, after: Measured) -> float | None:
    """Return 10^9 operations per second, or None with a GPU, since the products are timed on the CPU."""
    return None if before.machine["gpu"] else mean([before.best, after.best])


def prepare(models: Path, files: list[Path]) -> tuple[Path, list[Tokens]]:
    """Return the base's folder, made if it is missing, and the tokens of each file. Exits with the reason."""
    return in_child(_prepare, models, files)


def in_child(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own, so that its memory is free before the measurement."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _prepare(models: Path, files: list[Path]) -> tuple[Path, list[Tokens]]:
    from worker.base_models.model_store import ensure_model

    try:
        base, _ = ensure_model(SMOLLM2, models)
    except JobError as error:
        raise SystemExit(str(error)) from None
    return base.resolve(), [count_tokens(base, read_conversations(file)) for file in files]


def make_environments(venvs: Path, chosen: list[str]) -> dict[str, Path | None]:
    """Return the Python of each trainer, or None for a peer that cannot be installed here."""
    pythons: dict[str, Path | None] = {"tunery": Path(sys.executable)}
    for peer in chosen:
        try:
            pythons[peer] = _environment(venvs.absolute(), peer)
        except (subprocess.CalledProcessError, OSError) as error:
            say(f"{peer}: {error}")
            pythons[peer] = None
    return pythons


def _environment(venvs: Path, peer: str) -> Path:
    python = interpreter(venvs, peer)
    if python.exists() and imports(python, MODULE_OF.get(peer, peer)):
        return python
    say(f"{peer}: installing into {python.parents[1]}; this takes a while")
    return create(venvs, peer)


def measure_machine(base: Path) -> Measured:
    """Measure with bench/training/machine.py. Raises subprocess.CalledProcessError."""
    say("measuring the machine's matrix products")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "machine.json"
        command = [sys.executable, "-m", "bench.training.machine", "--base", str(base), "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads(out.read_text())
    return Measured(report["machine"], {one["dtype"]: round(one["gflops"], 1) for one in report["ceilings"]})


def commit() -> str | None:
    """Return the source's commit, with "+" if files were changed since; None outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
