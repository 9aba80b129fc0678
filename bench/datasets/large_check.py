"""Check a file of two million rows over the API, and ask the API other things meanwhile.

    python -m bench.datasets.large_check                 # some minutes; writes bench/results/large-check.json
    python -m bench.datasets.large_check --rows 200000 --base smollm2-135m-instruct --out model-check.json

A service of its own starts in an empty folder. The rows are generated, with 270 bytes each. While their check
runs, the same client lists jobs up to ten times a second. The peak memory and the processor time are those of
the process that checks, and of the processes that render rows for it if `--base` names a base model.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.datasets.check import generated, processor
from bench.training.service import service
from cli.client.client import Client
from core.errors import TuneryError

BLOCK = 20_000
ASK_SECONDS = 0.1
MAX_BYTES = 1 << 30
CHECKER = "worker.tasks.datasets"


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    settings = {"TUNERY_MAX_FILE_BYTES": str(MAX_BYTES)}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        write(rows, given.rows)
        with service(Path(folder) / "home", given.models, settings) as (up, client):
            began = time.perf_counter()
            with rows.open("rb") as content:
                file = client.upload(rows.name, content, "fine-tune")
            uploaded = time.perf_counter() - began
            result = measure(up, client, file["id"], given.base)
    result |= {
        "base": given.base,
        "rows": given.rows,
        "bytes": file["bytes"],
        "upload_seconds": round(uploaded, 1),
    }
    result["machine"] = processor()
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--rows", type=positive, default=2_000_000)
    parser.add_argument("--base", metavar="NAME", help="a base model, whose tokenizer counts tokens")
    parser.add_argument("--out", type=Path, default=BENCH / "results" / "large-check.json")
    add_models(parser)
    return parser.parse_args()


def write(path: Path, count: int) -> None:
    """Write rows that all differ: a block of them again and again, each with its number."""
    block = [json.dumps(row).encode() for row in generated(random.Random(1), BLOCK)]
    with path.open("wb") as file:
        for number in range(count):
            file.write(block[number % BLOCK].replace(b"w1 ", b"u%d " % number) + b"\n")


def measure(up: psutil.Process, client: Client, file_id: str, base: str | None) -> dict[str, Any]:
    """Run the check to its end. Returns its figures, and those of the requests beside it."""
    began, answers, phases = time.perf_counter(), [], []
    peak, seconds = 0, dict[int, float]()
    check = client.post(f"/files/{file_id}/check", {"model": base} if base else {})
    path = f"/files/{file_id}/checks/{check['id']}"
    while (check := client.get(path))["status"] not in ("succeeded", "failed", "cancelled"):
        asked = time.perf_counter()
        client.get("/fine_tuning/jobs", limit=20)
        answers.append(time.perf_counter() - asked)
        phases.append(check["progress"])
        working = list(checkers(up))
        peak = max(peak, sum(map(peak_bytes, working)))
        for process in working:
            with suppress(psutil.Error):
                seconds[process.pid] = sum(process.cpu_times()[:2])
        time.sleep(ASK_SECONDS)
    if check["status"] != "succeeded":
        raise TuneryError(f"the check ended as {check['status']}: {check['error']}")
    answers.sort()
    return {
        "check_seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(sum(seconds.values()), 1),
        "peak_megabytes": round(peak / 1e6),
        "different_progress": len({json.dumps(each) for each in phases}),
        "requests_beside": len(answers),
        "median_ms": round(1000 * answers[len(answers) // 2], 1),
        "p99_ms": round(1000 * answers[int(0.99 * len(answers))], 1),
        "measured_rows": check["report"]["lengths"]["measured_rows"],
        "counts": check["report"]["counts"],
    }


def checkers(up: psutil.Process) -> Iterator[psutil.Process]:
    for process in up.children(recursive=True):
        with suppress(psutil.Error):
            if CHECKER in process.cmdline():
                yield from (process, *process.children(recursive=True))


def peak_bytes(process: psutil.Process) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return 0


if __name__ == "__main__":
    main()
