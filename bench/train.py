"""Measure our trainer beside others: the same base, rows, batches and adapter, one process at a time.

    python bench/train.py                                  # both workloads, generated rows, once each
    python bench/train.py --data DIR --workload gsm8k --runs 3
    python bench/train.py --peers none                     # Tunery alone

Each trainer runs as it comes, and the peers also as well as we can set them up ("tuned"). With several runs
the trainers take turns (A B C A B C), so that a machine that slows down slows all of them. Leave the machine
alone meanwhile. The first time, each peer's environment is installed: some GB from the package index.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.path[:0] = [str(BENCH), str(BENCH / "peers"), str(ROOT)]

from counting import RANK, needed_operations
from measuring import Tokens, count_tokens, read_rows
from report import Run, kept, rounded, summarise, table, versions
from venvs import DEFAULT_VENVS, REQUIREMENTS, create, imports, interpreter
from workloads import ROWS, WORKLOADS, build

from core.catalog import SMOLLM2
from core.errors import JobError
from worker.supervisor import TRAINER_ENVIRONMENT, name_death

BATCH_SIZE = 8  # rows per optimizer step
LIMIT_SECONDS = 3 * 3600  # for one run
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
# Set by us or by nobody: what the shell holds must not tune a peer's defaults.
UNTUNED = {name for name in os.environ if name.startswith("MALLOC_")} | set(TRAINER_ENVIRONMENT)
RAISED = re.compile(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)\b.*")
REASON_LENGTH = 200


class RunFailed(Exception):
    """Why a run has no result, in one line."""


@dataclass(frozen=True)
class Trainer:
    """A row of the table: which script runs, and how."""

    name: str
    peer: str
    """A peer of `venvs.REQUIREMENTS`, or "tunery", which runs in this environment."""
    script: Path
    mode: str
    environment: dict[str, str] = field(default_factory=dict)


TRL, LLAMA_FACTORY = BENCH / "peers/trl_sft.py", BENCH / "peers/llamafactory.py"
TRAINERS = [
    Trainer("Tunery", "tunery", BENCH / "engine.py", "defaults", TRAINER_ENVIRONMENT),
    Trainer("TRL defaults", "trl", TRL, "defaults"),
    Trainer("TRL tuned", "trl", TRL, "tuned", KEEP_MEMORY),
    Trainer("LLaMA-Factory defaults", "llamafactory", LLAMA_FACTORY, "defaults"),
    Trainer("LLaMA-Factory tuned", "llamafactory", LLAMA_FACTORY, "tuned", KEEP_MEMORY),
]


@dataclass(frozen=True)
class Workload:
    name: str
    rows: Path
    source: str
    """The outside file's name below --data, or "generated"."""


@dataclass(frozen=True)
class Measured:
    """`bench/machine.py`'s report."""

    machine: dict[str, Any]
    gflops: dict[str, float]
    """10^9 operations per second by type."""

    @property
    def best(self) -> float:
        """In the faster type: the one that a trainer on this machine should compute in."""
        return max(self.gflops.values())


def main() -> None:
    given = arguments()
    workloads = [
        make_workload(name, given.data, given.rows)
        for name in (WORKLOADS if given.workload == "all" else [given.workload])
    ]
    say("preparing the base model")
    base, tokens = in_child(prepare, given.models, [workload.rows for workload in workloads])
    pythons = make_environments(given.venvs, given.peers)
    trainers = [trainer for trainer in TRAINERS if trainer.peer in pythons]
    for workload, counted in zip(workloads, tokens, strict=True):
        before = measure_machine(base)
        runs = run_all(trainers, pythons, base, workload, counted, given.runs)
        after = measure_machine(base)
        write_report(given.out, base, workload, counted, runs, before, after)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="outside rows, see bench/workloads.py (default: generated)")
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--peers", type=peers, default=sorted(REQUIREMENTS), help="trl,llamafactory or none")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="the peers' environments")
    parser.add_argument("--models", type=Path, default=ROOT / ".tunery/models", help="base models' folder")
    parser.add_argument("--rows", type=positive, default=ROWS, help=f"of each workload (default {ROWS})")
    parser.add_argument("--runs", type=positive, default=1, help="of each trainer; medians are shown")
    parser.add_argument("--out", type=Path, default=BENCH / "results", help="folder of the results")
    return parser.parse_args()


def peers(text: str) -> list[str]:
    chosen = [] if text == "none" else text.split(",")
    unknown = set(chosen) - set(REQUIREMENTS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such peer: {', '.join(sorted(unknown))}")
    return chosen


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def say(text: str) -> None:
    print(text, flush=True)


def make_workload(name: str, data: Path | None, rows: int) -> Workload:
    found = sorted(data.glob(WORKLOADS[name][1])) if data else []
    source = str(found[0].relative_to(data)) if data and found else "generated"
    say(f"{name}: {rows} rows, {source}")
    return Workload(name, build(name, BENCH / "workloads", data, rows), source)


def in_child(function: Any, *arguments: Any) -> Any:
    """Call in a process of its own, so that what it loads is gone before anything is measured."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepare(models: Path, files: list[Path]) -> tuple[Path, list[Tokens]]:
    """The base's folder, made where it is missing, and each file's tokens. Exits with the reason."""
    from worker.model_store import ensure_model

    try:
        base, _ = ensure_model(SMOLLM2, models)
    except JobError as error:
        raise SystemExit(str(error)) from None
    return base.resolve(), [count_tokens(base, read_rows(file)) for file in files]


def make_environments(venvs: Path, chosen: list[str]) -> dict[str, Path | None]:
    """The Python of each trainer; None for a peer that cannot be installed here."""
    pythons: dict[str, Path | None] = {"tunery": Path(sys.executable)}
    for peer in chosen:
        try:
            pythons[peer] = environment_of(venvs.absolute(), peer)
        except (subprocess.CalledProcessError, OSError) as error:
            say(f"{peer}: {error}")
            pythons[peer] = None
    return pythons


def environment_of(venvs: Path, peer: str) -> Path:
    python = interpreter(venvs, peer)
    if python.exists() and imports(python, peer):
        return python
    say(f"{peer}: installing into {venvs / peer}; this takes a while")
    return create(venvs, peer)


def measure_machine(base: Path) -> Measured:
    """Run bench/machine.py. Raises subprocess.CalledProcessError."""
    say("measuring the machine's matrix products")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "machine.json"
        command = [sys.executable, str(BENCH / "machine.py"), "--base", str(base), "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads(out.read_text())
    return Measured(report["machine"], {one["dtype"]: round(one["gflops"], 1) for one in report["ceilings"]})


def run_all(
    trainers: list[Trainer],
    pythons: dict[str, Path | None],
    base: Path,
    workload: Workload,
    tokens: Tokens,
    rounds: int,
) -> list[Run]:
    """Every trainer once, then again, `rounds` times. A failure is a run like any other."""
    runs = []
    for number in range(1, rounds + 1):
        for trainer in trainers:
            try:
                result = run_once(trainer, pythons[trainer.peer], base, workload, tokens)
                runs.append(Run(trainer.name, number, result))
                say(f"{workload.name}, {trainer.name}: {result['tokens_per_second']:.0f} tokens/s")
            except RunFailed as failure:
                runs.append(Run(trainer.name, number, failure=str(failure)))
                say(f"{workload.name}, {trainer.name} failed: {failure}")
    return runs


def run_once(
    trainer: Trainer, python: Path | None, base: Path, workload: Workload, tokens: Tokens
) -> dict[str, Any]:
    """The result file's contents. Raises RunFailed."""
    if python is None:
        raise RunFailed("its environment could not be installed")
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "result.json", Path(folder) / "log"
        command = [str(python), str(trainer.script), "--base", str(base), "--data", str(workload.rows)]
        command += ["--batch-size", str(BATCH_SIZE), "--mode", trainer.mode, "--out", str(out)]
        code = run_logged(command, trainer.environment, log)
        printed = log.read_text(errors="replace")
        if code != 0 or not out.exists():
            raise RunFailed(reason_of(code, printed))
        result: dict[str, Any] = json.loads(out.read_text())
    if result["real_tokens"] != tokens.total:
        raise RunFailed(f"it trained on {result['real_tokens']} tokens, and the rows have {tokens.total}")
    return result


def run_logged(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run to the end and return the exit status. Raises RunFailed after LIMIT_SECONDS."""
    clean = {name: value for name, value in os.environ.items() if name not in UNTUNED}
    variables = {**clean, "HF_HUB_OFFLINE": "1", **environment}
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return child.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"not done after {LIMIT_SECONDS / 3600:.0f} hours") from None
    finally:
        if child.returncode is None:  # out of time, or Ctrl-C: the child's own children must go too
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def reason_of(code: int, printed: str) -> str:
    """One line: the signal, else the last exception that was printed, else the last line."""
    if code < 0:
        return name_death(code)
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    raised = [line for line in lines if RAISED.match(line)]
    return (raised or lines or [f"ended with status {code} and no result"])[-1][:REASON_LENGTH]


def write_report(
    out: Path,
    base: Path,
    workload: Workload,
    tokens: Tokens,
    runs: list[Run],
    before: Measured,
    after: Measured,
) -> None:
    """Print the table, and write it and the JSON to `out`/<date>-<workload>."""
    now = datetime.now().astimezone()
    # The products are timed on the CPU: with a GPU they are no ceiling.
    ceiling = None if before.machine["gpu"] else mean([before.best, after.best])
    operations = needed_operations(base, tokens.per_row, tokens.answers)
    lines = summarise(runs, operations, ceiling)
    document = {
        "date": now.isoformat(timespec="seconds"),
        "workload": workload.name,
        "source": workload.source,
        "base_model": SMOLLM2.repository,
        "rows": len(tokens.per_row),
        "batch_size": BATCH_SIZE,
        "rank": RANK,
        "tokens": tokens.total,
        "answer_tokens": tokens.answers,
        "machine": before.machine,
        "gflops_before": before.gflops,
        "gflops_after": after.gflops,
        "needed_gflop": round(operations / 1e9, 1),
        "versions": versions(runs),
        "environment": {trainer.name: trainer.environment for trainer in TRAINERS},
        "median": [rounded(line) for line in lines],
        "runs": [kept(run) for run in runs],
    }
    page = f"{heading(document, ceiling)}\n{table(lines, runs)}"
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{now:%Y-%m-%d}-{workload.name}"
    target.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    target.with_suffix(".md").write_text(page)
    say(f"\n{page}\nWritten to {target}.json and .md")


def heading(document: dict[str, Any], ceiling: float | None) -> str:
    """What was run on what, above the table. `ceiling` is in 10^9 operations per second."""
    machine, runs = document["machine"], max(run["run"] for run in document["runs"])
    place = machine["gpu"] or f"{machine['threads']} threads of {machine['cpu']}"
    lines = [
        f"# {document['workload']}, {document['date'][:10]}",
        "",
        f"{document['base_model']}, LoRA of rank {document['rank']} on all linear layers. {document['rows']} "
        f"rows ({document['source']}), {document['tokens']:,} tokens, {document['answer_tokens']:,} of them "
        f"answers, {document['batch_size']} rows a step, one epoch.",
        f"{place}, {machine['memory_bytes'] / 1e9:.0f} GB. "
        + ("One run each." if runs == 1 else f"Medians of {runs} runs, the trainers in turn."),
    ]
    if ceiling:
        before, after = (max(document[f"gflops_{when}"].values()) for when in ("before", "after"))
        lines.append(
            f"Ceiling: matrix products at {ceiling:.0f} GFLOP/s in the faster type, the mean of {before:.0f} "
            f"before the runs and {after:.0f} after them."
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
