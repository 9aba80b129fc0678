"""Measure what tasks take from a training on the same processors: GSM8K alone and beside each kind of task.

    python -m bench.training.beside_tasks                       # about half an hour on two idle cores
    python -m bench.training.beside_tasks --turns 2 --tasks check,export

One service (`tunery up`) trains the same job again and again: for each kind of task once alone, and once
while such a task is always under way. The loss is the median over the turns of what the job beside the tasks
lacks of the tokens per second of the job alone just before it. The share of the processors says how much of
the time of all cores the processes of the tasks got. The eval run judges given answers: what servers compute
for others is not a task. The result is printed, and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from bench import ROOT
from bench.command_line import add_models, names_in, new_parser, positive
from bench.peers.measuring import SEED
from bench.serving.share import cpu_seconds
from bench.serving.workload import write_json
from bench.training import service as services
from bench.training.machine import describe
from bench.training.running import say
from bench.training.workloads import rows_of, word_problems
from cli.client.client import Client
from cli.client.watch import job_path
from core.errors import TuneryError

RANK, BATCH_SIZE = 16, 8
LOOK_SECONDS = 0.25
TEXT = "The cost of the books is 12 dollars, and that of the pens is 7 dollars. "
GRADED = [{"item": {"answer": TEXT * 20}, "sample": {"output_text": TEXT * 19}}] * 300


@dataclass(frozen=True)
class Things:
    """What tasks work on: two adapters, their models, a file with chat rows, and an eval."""

    adapter: str
    models: list[str]
    file: str
    eval_id: str


def measure(client: Client, of: Things) -> str:
    client.post(f"/adapters/{of.adapter}/portability", {})
    return f"/adapters/{of.adapter}/portability"


def check(client: Client, of: Things) -> str:
    return f"/files/{of.file}/checks/{client.post(f'/files/{of.file}/check', {})['id']}"


def export(client: Client, of: Things) -> str:
    at = f"/adapters/{of.adapter}/exports"
    return f"{at}/{client.post(at, {'format': 'gguf', 'quantization': 'q8_0'})['id']}"


def compose(client: Client, of: Things) -> str:
    search = {"files": [of.file], "rows": 32, "trials": 64}
    parts = [{"adapter": model} for model in of.models]
    made = client.post("/adapters/compose", {"adapters": parts, "method": "cat", "search": search})
    return f"/adapters/compositions/{made['id']}"


def evaluate(client: Client, of: Things) -> str:
    source = {"type": "jsonl", "source": {"type": "file_content", "content": GRADED}}
    at = f"/evals/{of.eval_id}/runs"
    return f"{at}/{client.post(at, {'data_source': source})['id']}"


TASKS: dict[str, Callable[[Client, Things], str]] = {
    "measurement": measure,
    "check": check,
    "export": export,
    "weight search": compose,
    "eval run": evaluate,
}


def main() -> None:
    given = arguments()
    environment = {"TUNERY_PROJECT_OPEN_TASKS": "100"}
    with (
        tempfile.TemporaryDirectory() as made,
        services.service(Path(made), given.models, environment) as (up, client),
    ):
        lines = rows_of("gsm8k", given.data, given.rows)
        file = services.upload(client, "".join(json.dumps(row) + "\n" for row in lines))
        say("preparing")
        of = things(client, file)
        turns = [turn(client, up, file, of, given.tasks) for _ in range(given.turns)]
    found = {name: summary(name, turns) for name in given.tasks}
    say(json.dumps(found, indent=1))
    write_json(given.out, {"machine": asdict(describe()), "turns": turns, "tasks": found})


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--data", type=Path, help="folder of data from elsewhere (default: generated rows)")
    parser.add_argument("--turns", type=positive, default=3, help="of all cases (default 3)")
    parser.add_argument("--rows", type=positive, default=64, help="rows of a job (default 64)")
    parser.add_argument("--tasks", type=tasks, default=list(TASKS), help=f"of {','.join(TASKS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/beside-tasks.json")
    return parser.parse_args()


def tasks(text: str) -> list[str]:
    return names_in(text, list(TASKS))


def things(client: Client, file: str) -> Things:
    """Train the adapters that tasks work on, and upload the rest."""
    jobs = [services.create(client, file, RANK, BATCH_SIZE) for _ in range(2)]
    services.wait(client, jobs)
    shown = [client.get(job_path(job)) for job in jobs]
    problems = islice(word_problems(random.Random(SEED)), 20_000)
    larger = services.upload(client, "".join(json.dumps(row) + "\n" for row in problems))
    grader = {
        "type": "text_similarity",
        "name": "similar",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "evaluation_metric": "fuzzy_match",
        "pass_threshold": 0.5,
    }
    any_row = {"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": True}
    criteria = {"name": "similar", "data_source_config": any_row, "testing_criteria": [grader]}
    return Things(
        adapter=shown[0]["adapter_id"],
        models=[each["fine_tuned_model"] for each in shown],
        file=larger,
        eval_id=client.post("/evals", criteria)["id"],
    )


def turn(client: Client, up: psutil.Process, file: str, of: Things, names: list[str]) -> dict[str, Any]:
    """For each of the tasks, train alone and beside it."""
    found: dict[str, Any] = {}
    for name in names:
        alone = train(client, file)
        with under_way(client, up, of, TASKS[name]) as used:
            beside = train(client, file)
            beside["share_of_processors"] = used() / beside["seconds"] / (os.cpu_count() or 1)
        found[name] = {"alone": alone, "beside": beside}
        say(f"{name}: {json.dumps(found[name])}")
    return found


def train(client: Client, file: str) -> dict[str, Any]:
    """Train a job, and return its tokens per second. The first round is left out: it takes longer."""
    began = time.perf_counter()
    job_id = services.create(client, file, RANK, BATCH_SIZE)
    services.wait(client, [job_id])
    seconds = time.perf_counter() - began
    first, *_, last = services.rounds(client, job_id)
    tokens = last["trained_tokens"] - first["trained_tokens"]
    return {
        "tokens_per_second": tokens / (last["trained_seconds"] - first["trained_seconds"]),
        "seconds": seconds,
    }


@contextmanager
def under_way(
    client: Client, up: psutil.Process, of: Things, start: Callable[[Client, Things], str]
) -> Iterator[Callable[[], float]]:
    """Have one task after the other done in the block. Yield what returns the processor's seconds of them."""
    seconds: dict[int, float] = {}
    ending = threading.Event()

    def run() -> None:
        while not ending.is_set():
            at = start(client, of)
            while not has_ended(client, at):
                for process in task_processes(up):
                    with suppress(OSError):  # it has ended
                        seconds[process.pid] = cpu_seconds(process.pid)
                if ending.wait(LOOK_SECONDS):
                    break
        if not has_ended(client, at):
            client.post(f"{at}/cancel")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield lambda: sum(seconds.values())
        finally:
            ending.set()
        running.result()


def has_ended(client: Client, at: str) -> bool:
    """Return whether the task at this path has ended. Raises TuneryError if it has failed."""
    shown = client.get(at)
    task = shown.get("measurement", shown)
    if task["status"] == "failed":
        raise TuneryError(f"{at} has failed: {task['error']}")
    return task["status"] not in ("queued", "running", "in_progress")


def task_processes(up: psutil.Process) -> list[psutil.Process]:
    """Return the processes of tasks, and those that they have started."""
    found = []
    for process in up.children(recursive=True):
        try:
            if any("worker.tasks." in word for word in process.cmdline()):
                found += [process, *process.children(recursive=True)]
        except psutil.Error:  # it has ended
            continue
    return found


def summary(name: str, turns: list[dict[str, Any]]) -> dict[str, float]:
    pairs = [each[name] for each in turns]
    rate = "tokens_per_second"
    return {
        "loss": 1 - statistics.median(pair["beside"][rate] / pair["alone"][rate] for pair in pairs),
        "share_of_processors": statistics.median(pair["beside"]["share_of_processors"] for pair in pairs),
    }


if __name__ == "__main__":
    main()
