"""Compare an automatic rank with a full run of each rank that it tries: its choice and its cost.

    python -m bench.jobs.automatic_rank --data DIR                      # GSM8K and E2E NLG
    python -m bench.jobs.automatic_rank --data DIR --only gsm8k --rows 200
    python -m bench.jobs.automatic_rank --only none                     # write the table again

For each dataset, a job with `"r": "auto"` trains first, then one job for each rank. They train over the API
of one service, one after another, on the same rows in the same order. The results of each dataset are a file
in bench/results/automatic_rank.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.command_line import positive
from bench.jobs.api_job import Request, create, metrics_of
from bench.jobs.run import Result, arguments, describe_runs, describe_training, read_results, surroundings
from bench.pages import marked
from bench.pages.tables import markdown
from bench.training.preparation import prepare
from bench.training.running import say
from bench.training.service import service, wait
from bench.training.workloads import rows_of, source_of
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import SMOLLM2
from core.jobs.search import AUTO_RANKS

SCRIPT = "bench/jobs/automatic_rank.py"
DATASETS = {"gsm8k": "gsm8k", "e2e_nlg": "e2e16"}
"""The workload of each dataset."""
HEADINGS = (
    *("dataset", "chosen rank", "its loss", "best full run", "its loss", "difference"),
    *("tokens, in full runs", "time, in full runs"),
)


def main() -> None:
    parser = arguments(__doc__, list(DATASETS), "automatic_rank")
    parser.add_argument("--rows", type=positive, default=200, help="rows to train on (default 200)")
    parser.add_argument(
        "--validation-rows", type=positive, default=100, help="rows held out of training (default 100)"
    )
    parser.set_defaults(page=ROOT / "docs/candidates.md", epochs=2)
    given = parser.parse_args()
    for dataset in given.only:
        result = measure(dataset, given)
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"{dataset}.json").write_text(json.dumps(result, indent=1) + "\n")
    if found := read_results(given.out, DATASETS):
        marked.put(given.page, SCRIPT, text(found))


def measure(dataset: str, given: Namespace) -> Result:
    prepare(given.models, [])
    workload = DATASETS[dataset]
    rows = rows_of(workload, given.data, given.rows + given.validation_rows)
    training, validation = rows[: given.rows], rows[given.rows :]
    request = Request(SMOLLM2, lora("auto"), training, validation, given.epochs, given.batch_size)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), given.models) as (_, client):
        run(client, replace(request, adapter=lora(4), training=training[:16], validation=[], epochs=1))
        searched = run(client, request)
        by_rank = [run(client, replace(request, adapter=lora(rank))) for rank in AUTO_RANKS]
    return {
        "dataset": dataset,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        **surroundings(given.alone),
        "source": source_of(workload, given.data) or "generated",
        "rows": given.rows,
        "validation_rows": given.validation_rows,
        "epochs": given.epochs,
        "batch_size": given.batch_size,
        "automatic": searched,
        "by_rank": by_rank,
    }


def lora(rank: int | str) -> dict[str, Any]:
    return {"type": "lora", "r": rank, "lora_alpha": "auto"}


def run(client: Client, request: Request) -> Result:
    """Train one job on a service that has no other job, and return its result."""
    began = time.perf_counter()
    job_id = create(client, request)
    (ended,) = wait(client, [job_id])
    job, last = client.get(job_path(job_id)), metrics_of(client, job_id)[-1]
    say(f"r = {request.adapter['r']}: r = {job['adapter']['r']} after {ended - began:.0f} s")
    return {
        "r": job["adapter"]["r"],
        "loss": last.get("full_valid_loss"),
        "tokens": job["trained_tokens"],
        "seconds": ended - began,
        "candidates": client.get(f"{job_path(job_id)}/candidates"),
    }


def text(results: Sequence[Result]) -> str:
    sizes = {f"{describe_training(each)}; {each['validation_rows']} rows held out" for each in results}
    head = f"{results[0]['base_model']}; {'; '.join(sorted(sizes))}. {describe_runs(results)}\n"
    notes = (
        "- loss: over all rows held out, after the last step, in nats per answer token.\n"
        "- best full run: the lowest loss of the ranks 4, 8, 16 and 32. Each rank trained to the end as a "
        "job of its own.\n"
        "- difference: how far the loss of the chosen rank is above (+) or below (-) the best full run's.\n"
        "- in full runs: the cost of the search, divided by the cost of one full run with the chosen rank. "
        "The time is from the request to the adapter.\n"
    )
    return "\n".join([head, markdown(HEADINGS, [cells(each) for each in results]), notes])


def cells(result: Result) -> tuple[str, ...]:
    found, by_rank = result["automatic"], result["by_rank"]
    best = min(by_rank, key=lambda run: run["loss"])
    (same,) = (run for run in by_rank if run["r"] == found["r"])
    return (
        result["dataset"],
        str(found["r"]),
        f"{found['loss']:.4f}",
        f"r = {best['r']}",
        f"{best['loss']:.4f}",
        f"{found['loss'] / best['loss'] - 1:+.2%}",
        f"{found['tokens'] / same['tokens']:.2f}",
        f"{found['seconds'] / same['seconds']:.2f}",
    )


if __name__ == "__main__":
    main()
