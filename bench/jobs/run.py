"""Runs one method on one task: its job over the API, then its adapter in plain transformers and PEFT."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench import BENCH, ROOT
from bench.command_line import add_models, names_in, new_parser, positive
from bench.jobs.api_job import Request, Trained, train
from bench.jobs.cases import Case
from bench.peers.measuring import versions_of
from bench.training.preparation import commit, in_child, prepare
from bench.training.running import RunFailed, run_script, say
from bench.training.workloads import Row
from core.catalog import SMOLLM2
from worker.process.environment import TRAINER_ENVIRONMENT

Result = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The task, the same for every method. The model answers a prompt without the prompt's last message."""

    source: str
    training: Sequence[Row]
    validation: Sequence[Row]
    """May be empty."""
    prompts: Sequence[Row]
    epochs: int
    batch_size: int
    max_new_tokens: int
    beams: int = 1

    @property
    def sizes(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "rows": len(self.training),
            "validation_rows": len(self.validation),
            "prompts": len(self.prompts),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "beams": self.beams,
        }


def run_all(
    cases: Iterable[Case], task: Task, given: argparse.Namespace, score: Callable[[list[str]], Result]
) -> None:
    """Write a file of results for each case to `given.out`. `score` computes the scores of the answers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    base, _ = prepare(given.models, [])
    around = surroundings(given.alone)
    given.out.mkdir(parents=True, exist_ok=True)
    for case in cases:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        result = {"name": case.name, "title": case.title, "date": now, **around, **task.sizes}
        try:
            measured = measure(case, task, given.models, base)
            result |= {**measured, **score(measured["answers"])}
            say(f"{case.title}: done")
        except RunFailed as failure:
            result |= {"failure": str(failure)}
            say(f"{case.title} failed: {failure}")
        (given.out / f"{case.name}.json").write_text(json.dumps(result, indent=1) + "\n")


def surroundings(alone: bool) -> Result:
    """Describe the machine and the versions. `alone` says that no other program runs."""
    return {
        "commit": commit(),
        "base_model": SMOLLM2.repository,
        "machine": in_child(_describe),
        "alone": alone,
        "versions": versions_of("torch", "transformers", "peft", "bitsandbytes", "sacrebleu"),
    }


def _describe() -> dict[str, Any]:
    from bench.training.machine import describe

    return asdict(describe())


def measure(case: Case, task: Task, models: Path, base: Path) -> Result:
    """Train the case and ask its adapter. Raises RunFailed."""
    if case.adapter is None:
        return plain(base, None, task)
    request = Request(
        case.base,
        case.adapter,
        task.training,
        task.validation,
        task.epochs,
        task.batch_size,
        case.learning_rate,
    )
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder)
        trained = train(request, models, adapter)
        return figures_of_service(trained, adapter) | plain(base, adapter, task)


def figures_of_service(trained: Trained, adapter: Path) -> Result:
    return {
        "adapter": trained.job["adapter"],
        "learning_rate": trained.job["training"]["learning_rate"],
        "tokens": trained.job["trained_tokens"],
        "losses": [round(step["train_loss"], 4) for step in trained.metrics],
        "validation_loss": trained.metrics[-1]["full_valid_loss"],
        "artifact_bytes": sum(file.stat().st_size for file in adapter.glob("*.safetensors")),
        "peak_rss_bytes": trained.peak_rss_bytes,
        "tokens_per_second": median(step["tokens_per_second"] for step in trained.metrics[1:]),
    }


def plain(base: Path, adapter: Path | None, task: Task) -> Result:
    """Run `bench.jobs.plain` in the precision in which the adapter was trained. Raises RunFailed."""
    trained = json.loads((adapter / "manifest.json").read_text())["training"] if adapter else {}
    request = {
        "base": str(base),
        "adapter": adapter and str(adapter),
        "dtype": trained.get("dtype", "float32"),
        "quantization": trained.get("quantization"),
        "validation": task.validation,
        "prompts": task.prompts,
        "max_new_tokens": task.max_new_tokens,
        "beams": task.beams,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request))
        arguments = ["--request", str(file)]
        return run_script(Path(sys.executable), "bench.jobs.plain", arguments, TRAINER_ENVIRONMENT)


def read_results(folder: Path, names: Iterable[str]) -> list[Result]:
    """Return the results that exist, in the order of the names."""
    paths = (folder / f"{name}.json" for name in names)
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def arguments(description: str | None, known: list[str], folder: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all tasks; `folder` is the folder of the results."""
    parser = new_parser(description)
    parser.add_argument(
        "--data", type=Path, help="folder of data from elsewhere, see bench/training/workloads.py"
    )
    parser.add_argument(
        "--only",
        type=lambda text: [] if text == "none" else names_in(text, known),
        default=known,
        help=f"of {','.join(known)}, or none",
    )
    parser.add_argument("--epochs", type=positive, default=1, help="epochs of training (default 1)")
    parser.add_argument("--batch-size", type=positive, default=4, help="rows in a step (default 4)")
    parser.add_argument("--alone", action="store_true", help="record that no other program runs meanwhile")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results" / folder, help="folder of the results")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs/methods.md", help="page that gets the table"
    )
    return parser


def describe_runs(results: Sequence[Result]) -> str:
    """Name the machines, versions, days and commits of the results in one sentence for all of them."""
    machines = {f"{each['machine']['threads']} threads of {each['machine']['cpu']}" for each in results}
    packages = {f"{name} {number}" for each in results for name, number in each["versions"].items()}
    days = sorted({each["date"][:10] for each in results})
    commits = sorted({each["commit"] or "unknown" for each in results})
    return (
        f"{' or '.join(sorted(machines))}; {', '.join(sorted(packages))}. "
        f"{' to '.join(dict.fromkeys([days[0], days[-1]]))}, commits {', '.join(commits)}."
    )


def describe_training(result: Result) -> str:
    """Say in words how much the run trained."""
    return (
        f"{result['rows']} rows ({result['source']}), epochs: {result['epochs']}, "
        f"{result['batch_size']} rows a step"
    )


def failures(results: Sequence[Result]) -> str:
    """List the runs that failed, each with its reason. The text is empty if no run failed."""
    return "".join(f"- {each['title']} failed: {each['failure']}\n" for each in results if "failure" in each)
