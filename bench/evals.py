"""Compare what evals say of models with plain transformers and PEFT, on two datasets.

    python -m bench.evals --data DIR          # DIR/text2sql and DIR/banking77

An adapter for each dataset trains over the API of a service of its own. Evals then judge the base model and
the adapter on rows that neither has seen, by loss and by the share of rows whose tokens are all the likeliest
ones. A new process computes the same with the downloaded adapters, row by row. All of it is in fp32. The
result is bench/results/evals.json. The exit code is 1 if a loss differs by more than 0.001 nats.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.composing.rows import Task, tasks
from bench.composing.training import RANK, train
from bench.jobs.api_job import jsonl
from bench.jobs.run import surroundings
from bench.training.preparation import prepare
from bench.training.running import RunFailed, run_script, say
from bench.training.service import download, service, upload, wait
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import SMOLLM2
from worker.process.environment import TRAINER_ENVIRONMENT

AIM_NATS = 1e-3
POLL_SECONDS = 0.5
CRITERIA = [{"type": "loss"}, {"type": "token_accuracy", "pass_threshold": 1}]
IN_FP32 = SMOLLM2.model_dump(exclude_none=True) | {"dtype": "fp32"}


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    found = run(given)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    worst = max(abs(each["ours"]["loss"] - each["peft"]["loss"]) for each in found["runs"])
    say(f"losses differ by {worst:.5f} nats at most")
    if worst > AIM_NATS:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data from elsewhere")
    parser.add_argument("--rows", type=positive, default=32, help="rows of each dataset (default 32)")
    parser.add_argument("--alone", action="store_true", help="record that no other program runs meanwhile")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/evals.json", help="the result")
    return parser.parse_args()


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Train, judge by evals, and judge again with PEFT. Raises RunFailed."""
    base, _ = prepare(given.models, [])
    around = surroundings(given.alone)
    both = tasks(given.data, searched=0, tested=given.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = judged_by_evals(both, given.models, folder)
        request = {
            "base": str(base),
            "adapters": {"base": None} | {task.name: str(folder / task.name) for task in both},
            "tasks": {task.name: task.test for task in both},
        }
        file = folder / "request.json"
        file.write_text(json.dumps(request))
        script = "bench.composing.answers", ["--request", str(file)]
        scores = run_script(Path(sys.executable), *script, TRAINER_ENVIRONMENT)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        **around,
        "rank": RANK,
        "rows": given.rows,
        "runs": [each | {"peft": scores[each["model"]][each["task"]]} for each in runs],
    }


def judged_by_evals(both: Sequence[Task], models: Path, folder: Path) -> list[dict[str, Any]]:
    """Return what evals say of the base model and of each task's adapter, on the task's test rows."""
    catalog = folder / "catalog.toml"
    lines = (f"{name} = {json.dumps(value)}\n" for name, value in IN_FP32.items())
    catalog.write_text(f"[[model]]\n{''.join(lines)}")
    found = []
    with service(folder / "home", models, {"TUNERY_CATALOG_FILE": str(catalog)}) as (_, client):
        jobs = [train(client, task) for task in both]
        wait(client, jobs)
        for task, job_id in zip(both, jobs, strict=True):
            download(client, job_id, folder / task.name)
            eval_id = client.post("/evals", eval_of(task))["id"]
            file = upload(client, jsonl(task.test))
            tuned = client.get(job_path(job_id))["fine_tuned_model"]
            for name, model in (("base", SMOLLM2.id), (task.name, tuned)):
                found.append({"task": task.name, "model": name} | judge(client, eval_id, file, model))
    return found


def eval_of(task: Task) -> dict[str, Any]:
    config = {"type": "custom", "item_schema": {"type": "object"}}
    return {"name": task.name, "data_source_config": config, "testing_criteria": CRITERIA}


def judge(client: Client, eval_id: str, file: str, model: str) -> dict[str, Any]:
    """Run the eval on a model, and return its figures. Raises RunFailed."""
    source = {"type": "file_id", "id": file}
    body = {"name": model, "data_source": {"type": "completions", "model": model, "source": source}}
    began = time.perf_counter()
    judged = client.post(f"/evals/{eval_id}/runs", body)
    while judged["status"] in ("queued", "in_progress"):
        time.sleep(POLL_SECONDS)
        judged = client.get(f"/evals/{eval_id}/runs/{judged['id']}")
    if judged["status"] != "completed" or judged["result_counts"]["errored"]:
        raise RunFailed(f"The run of {model} {judged['status']}: {judged['error']}")
    loss, accuracy = judged["criteria"]
    rows = judged["result_counts"]["total"]
    ours = {
        "loss": loss["value"],
        "low": loss["low"],
        "high": loss["high"],
        "exact": accuracy["passed"] / rows,
    }
    say(f"{model}: {ours}")
    return {"ours": ours, "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    main()
