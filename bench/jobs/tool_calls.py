"""Train calls of tools through the service, and ask for calls that the model has never seen.

    python -m bench.jobs.tool_calls --data DIR   # DIR/glaive_toolcall_en_demo.json, ShareGPT turns with tools

SmolLM2's own chat template has no place for tools, so the service offers a copy of its folder with a
template that has (bench/tools.jinja). The service converts the file, and a job trains on most rows that have
tools. Both models are then asked, greedily, for the first answer of rows that were held out: where the row
calls a tool, and where it answers with a text although it has tools. The result is
bench/results/tool-calls.json. The exit code is 1 unless the tuned model names the right tool more often.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.jobs.api_job import jsonl
from bench.jobs.run import surroundings
from bench.peers.measuring import SEED
from bench.training.running import RunFailed, say
from bench.training.service import service, upload, wait
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import SMOLLM2
from worker.base_models.model_store import ensure_model

FILE = "glaive_toolcall_en_demo.json"
BASE = "smollm2-135m-with-tools"
POLL_SECONDS = 0.5
ANSWER_TOKENS = 96
AT_ONCE = 8  # requests
RANK, BATCH_SIZE, LEARNING_RATE, MAX_LENGTH = 16, 4, 1e-3, 768

Row = dict[str, Any]


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    found = run(given)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    base, tuned = found["base"], found["tuned"]
    say(f"right tool: {base['right_tool']} of {base['asked']} before, {tuned['right_tool']} after")
    if tuned["right_tool"] <= base["right_tool"]:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {FILE}")
    parser.add_argument("--rows", type=positive, default=48, help="rows to train on (default 48)")
    parser.add_argument("--asked", type=positive, default=20, help="held-out rows that call (default 20)")
    parser.add_argument("--silent", type=positive, default=10, help="held-out rows that do not (default 10)")
    parser.add_argument("--epochs", type=positive, default=2, help="passes over the rows (default 2)")
    parser.add_argument("--alone", action="store_true", help="record that no other program runs meanwhile")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/tool-calls.json", help="the result")
    return parser.parse_args()


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Train and ask. Raises RunFailed."""
    around = surroundings(given.alone)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"TUNERY_CATALOG_FILE": str(offer_base(folder, given.models))}
        with service(folder / "home", given.models, settings) as (_, client):
            rows = converted(client, given.data / FILE)
            training, calling, silent = split(rows, given.rows, given.asked, given.silent)
            began = time.perf_counter()
            job = train(client, training, given.epochs)
            seconds = round(time.perf_counter() - began)
            base, tuned = (judge(client, model, calling, silent) for model in (BASE, job["fine_tuned_model"]))
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        **around,
        "rows": len(training),
        "epochs": given.epochs,
        "trained_tokens": job["trained_tokens"],
        "training_seconds": seconds,
        "base": base,
        "tuned": tuned,
    }


def offer_base(folder: Path, models: Path) -> Path:
    """Copy SmolLM2's folder with a template for tools. Returns the catalog that offers it."""
    source, _ = ensure_model(SMOLLM2, models)
    shutil.copytree(source, folder / "base")
    shutil.copy(BENCH / "tools.jinja", folder / "base/chat_template.jinja")
    entry = {
        "id": BASE,
        "repository": SMOLLM2.repository,
        "source": "folder",
        "path": str(folder / "base"),
        "revision": "1",
        "license": SMOLLM2.license,
        "max_length": SMOLLM2.max_length,
    }
    catalog = folder / "catalog.toml"
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())
    catalog.write_text(f"[[model]]\n{lines}")
    return catalog


def converted(client: Client, path: Path) -> list[Row]:
    """Upload a file of another format, and return the rows that the service makes of it."""
    file = client.upload(path.name, io.BytesIO(path.read_bytes()), "user_data")["id"]
    found = client.post(f"/files/{file}/convert", {})
    while found["status"] in ("queued", "running", "in_progress"):
        time.sleep(POLL_SECONDS)
        found = client.get(f"/files/{file}/conversions/{found['id']}")
    if found["status"] != "succeeded":
        raise RunFailed(f"The conversion {found['status']}: {found['error']}")
    say(f"recognised as {found['report']['format']} in {found['report']['container']}")
    content = b"".join(client.download(f"/files/{found['converted_file']}/content"))
    return [json.loads(line) for line in content.splitlines()]


def split(rows: Sequence[Row], most: int, asked: int, silent: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Return rows to train on, and held-out rows: those that call a tool, and those that only might."""
    with_tools = [row for row in rows if row.get("tools")]
    calling = [row for row in with_tools if first_call(row) is not None][-asked:]
    others = [row for row in with_tools if first_call(row) is None][-silent:]
    held_out = [id(row) for row in (*calling, *others)]
    return [row for row in with_tools if id(row) not in held_out][:most], calling, others


def first_call(row: Row) -> int | None:
    """Return the place of the first message that calls a tool."""
    calls = (place for place, message in enumerate(row["messages"]) if message.get("tool_calls"))
    return next(calls, None)


def train(client: Client, rows: Sequence[Row], epochs: int) -> dict[str, Any]:
    hyperparameters = {"n_epochs": epochs, "batch_size": BATCH_SIZE}
    body = {
        "model": BASE,
        "training_file": upload(client, jsonl(rows)),
        "seed": SEED,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "adapter": {"type": "lora", "r": RANK, "lora_alpha": 2 * RANK},
        "training": {"learning_rate": LEARNING_RATE, "max_length": MAX_LENGTH},
    }
    job_id = str(client.post("/fine_tuning/jobs", body)["id"])
    wait(client, [job_id])
    return client.get(job_path(job_id))


def judge(client: Client, model: str, calling: Sequence[Row], silent: Sequence[Row]) -> dict[str, Any]:
    """Return how many answers call a tool, name the right one, and have its arguments."""
    places = [
        *((row, first_call(row) or 0) for row in calling),
        *((row, first_answer(row)) for row in silent),
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:  # a server answers several requests in one pass
        answers = list(pool.map(lambda asked: answered(client, model, *asked), places))
    seconds = round(time.perf_counter() - began)
    expected = map(expected_call, calling)
    made = [(got[0]["function"], wanted) for got, wanted in zip(answers, expected, strict=False) if got]
    found = {
        "model": model,
        "asked": len(calling),
        "calls": len(made),
        "right_tool": sum(got["name"] == wanted["name"] for got, wanted in made),
        "right_arguments": sum(same_arguments(got, wanted) for got, wanted in made),
        "silent": len(silent),
        "silent_calls": sum(bool(got) for got in answers[len(calling) :]),
        "seconds": seconds,
    }
    say(json.dumps(found))
    return found


def answered(client: Client, model: str, row: Row, place: int) -> list[dict[str, Any]]:
    """Return the calls of the model's answer in place of the message at `place`."""
    body = {
        "model": model,
        "messages": row["messages"][:place],
        "tools": row["tools"],
        "temperature": 0,
        "max_completion_tokens": ANSWER_TOKENS,
    }
    return client.post("/chat/completions", body)["choices"][0]["message"].get("tool_calls") or []


def first_answer(row: Row) -> int:
    return next(place for place, message in enumerate(row["messages"]) if message["role"] == "assistant")


def expected_call(row: Row) -> dict[str, Any]:
    place = first_call(row)
    assert place is not None
    function: dict[str, Any] = row["messages"][place]["tool_calls"][0]["function"]
    return function


def same_arguments(got: dict[str, Any], wanted: dict[str, Any]) -> bool:
    try:
        found = json.loads(got["arguments"])
    except ValueError:
        return False
    return got["name"] == wanted["name"] and found == json.loads(wanted["arguments"])


if __name__ == "__main__":
    main()
