"""Train two tasks apart, compose the adapters by every method, and measure each result on both tasks.

    python -m bench.composing --data DIR          # DIR/text2sql and DIR/banking77
    python -m bench.composing                     # write the page again

The adapters train over the API of a service of its own, which also composes them, with equal weights and with
weights that a search finds. Then a new process measures all of them with plain transformers and PEFT. The
result is bench/results/composition.json; docs/composition.md gets the table and the picture.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from bench import BENCH, ROOT
from bench.command_line import add_models, new_parser, positive
from bench.composing import page
from bench.composing.rows import Task, tasks
from bench.composing.training import RANK, train
from bench.jobs.api_job import jsonl
from bench.jobs.run import surroundings
from bench.peers.measuring import SEED
from bench.training.preparation import prepare
from bench.training.running import RunFailed, run_script, say
from bench.training.service import download, service, upload, wait
from cli.client.client import Client
from cli.client.watch import job_path
from core.compositions.methods import Method
from worker.process.environment import TRAINER_ENVIRONMENT

SEARCHED: Sequence[Method] = ("cat", "linear", "ties")  # an exact sum, a sum of A and B, and one that prunes
POLL_SECONDS = 0.5


def main() -> None:
    given = arguments()
    if given.data is not None:
        signal.signal(
            signal.SIGTERM, lambda *_: sys.exit("told to stop")
        )  # so that the service stops with us
        given.out.write_text(json.dumps(run(given), indent=1) + "\n")
    page.write(json.loads(given.out.read_text()), given.page, given.picture)


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder of data from elsewhere; without one, only write the page"
    )
    parser.add_argument(
        "--searched", type=positive, default=16, help="rows of each task to search on (default 16)"
    )
    parser.add_argument(
        "--tested", type=positive, default=32, help="rows of each task to test with (default 32)"
    )
    parser.add_argument("--trials", type=positive, default=12, help="trials of a search (default 12)")
    parser.add_argument("--alone", action="store_true", help="record that no other program runs meanwhile")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/composition.json", help="the result")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/composition.md", help="page with the table")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/composition.svg", help="the picture")
    return parser.parse_args()


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Train, compose and measure. Raises RunFailed."""
    base, _ = prepare(given.models, [])
    around = surroundings(given.alone)
    both = tasks(given.data, given.searched, given.tested)
    with tempfile.TemporaryDirectory() as folder:
        models = adapters(both, given, Path(folder))
        request = {
            "base": str(base),
            "adapters": {model["name"]: model.pop("folder") for model in models},
            "tasks": {task.name: task.test for task in both},
        }
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request))
        script = "bench.composing.answers", ["--request", str(file)]
        scores = run_script(Path(sys.executable), *script, TRAINER_ENVIRONMENT)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        **around,
        "rank": RANK,
        **{name: getattr(given, name) for name in ("searched", "tested", "trials")},
        "models": [model | scores[model["name"]] for model in models],
    }


def adapters(both: Sequence[Task], given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return the base, the adapter of each task and every composition, each with the folder of its files."""
    made: list[dict[str, Any]] = [model("base", None)]
    with service(folder / "home", given.models) as (_, client):
        jobs = [train(client, task) for task in both]
        wait(client, jobs)
        for task, job_id in zip(both, jobs, strict=True):
            download(client, job_id, folder / task.name)
            made.append(model(f"{task.name} alone", folder / task.name))
        parts = [client.get(job_path(job_id))["adapter_id"] for job_id in jobs]
        files = [upload(client, jsonl(task.search)) for task in both]
        search = {"files": files, "rows": given.searched, "trials": given.trials}
        for method in get_args(Method):
            made.append(compose(client, parts, method, None, folder))
        made += [compose(client, parts, method, search, folder) for method in SEARCHED]
    return made


def model(name: str, folder: Path | None, weights: Sequence[float] = (), **more: Any) -> dict[str, Any]:
    place = str(folder) if folder else None
    return {"name": name, "folder": place, "weights": list(weights), "searched": False, **more}


def compose(
    client: Client, parts: Sequence[str], method: Method, search: dict[str, Any] | None, folder: Path
) -> dict[str, Any]:
    """Compose the adapters with equal weights, or with those that a search finds. Raises RunFailed."""
    body = {
        "adapters": [{"adapter": each} for each in parts],
        "method": method,
        "seed": SEED,
        "search": search,
    }
    began = time.perf_counter()
    made = client.post("/adapters/compose", body)
    while made["finished_at"] is None:
        time.sleep(POLL_SECONDS)
        made = client.get(f"/adapters/compositions/{made['id']}")
    if made["status"] != "succeeded":
        raise RunFailed(f"{method}: {made['error']}")
    name = f"{method}, found weights" if search else method
    say(f"{name}: {made['report']['weights']}")
    at = folder / made["id"]
    archive = io.BytesIO(b"".join(client.download(f"/adapters/{made['adapter_id']}/content")))
    with zipfile.ZipFile(archive) as files:
        files.extractall(at)
    return model(
        name,
        at,
        made["report"]["weights"],
        searched=search is not None,
        rank=made["report"]["rank"],
        seconds=round(time.perf_counter() - began, 1),
        trials=made["report"].get("trials", []),
    )


if __name__ == "__main__":
    main()
