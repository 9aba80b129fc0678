"""Compare the memory model with torch's accounting and with this CPU, and list which model fits which card.

    python -m bench.memory                     # the comparisons, then both files of bench/results/memory
    python -m bench.memory --only Qwen         # the models with this in their names

It needs no weights. The accounting of a whole model takes about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from bench import ROOT
from bench.command_line import new_parser
from bench.memory.fits import CARDS, table
from bench.memory.measured import MAPPED, measure
from bench.memory.models import CASES, Case, llama
from bench.memory.tracked import track
from core.estimates.memory import step_memory
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import Load, base_bytes
from core.methods.low_rank import LoraAdapter
from worker.process.environment import TRAINER_ENVIRONMENT

RESULTS = ROOT / "bench" / "results" / "memory"
ROWS, LENGTH, SUPERVISED, RANK = 4, 512, 512, 16
ON_CPU = (2, 512)  # rows, tokens of each
QUARTER_B = partial(llama, 12, 1024, 2816, 16, 4, 32000)
MEASURED = [
    Case("Llama 0.2 B, fp32", QUARTER_B, torch.float32),
    Case("Llama 0.2 B, bf16", QUARTER_B, torch.bfloat16),
]
GB = 1e9


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--only", default="", help="the models whose names contain this")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for case in CASES[:5]:
        if given.only in case.name:
            _keep("counted.json", case.name, _counted(case))
    if not given.only:
        for row in _measured(MEASURED):
            _keep("measured.json", row["model"], row)
    (RESULTS / "page.md").write_text("\n\n".join(_page()) + "\n", "utf-8")


def _counted(case: Case) -> dict[str, Any]:
    counted = track(case, ROWS, LENGTH, SUPERVISED, RANK)
    model, tokens = case.shape, ROWS * LENGTH
    load = replace(Load.of(model, [LoraAdapter(r=RANK)], LENGTH, "cpu"), supervised=SUPERVISED / tokens)
    step = step_memory(model, load, Recompute.NONE, tokens)
    predicted = base_bytes(model) + load.state.total - load.state.moments + step.peak
    return {
        "model": case.name,
        "counted": counted.peak,
        "predicted": predicted,
        **_ratio(predicted, counted.peak),
    }


def _measured(cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    rows, length = ON_CPU
    heap = measure(cases, rows, length, RANK, {k: v for k, v in TRAINER_ENVIRONMENT.items() if "MALLOC" in k})
    for case, measured, in_heap in zip(cases, measure(cases, rows, length, RANK, MAPPED), heap, strict=True):
        load = Load.of(case.shape, [LoraAdapter(r=RANK)], length, "cpu")
        predicted = step_memory(case.shape, load, Recompute.NONE, rows * length).peak
        ratios = {**_ratio(predicted, measured), "heap": round(in_heap / measured, 2)}
        yield {"model": case.name, "measured": measured, "predicted": predicted, **ratios}


def _ratio(predicted: int, found: int) -> dict[str, float]:
    return {"ratio": round(predicted / found, 4)}


def _keep(file: str, name: str, row: dict[str, Any]) -> None:
    print(row, flush=True)
    path = RESULTS / file
    rows = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(rows | {name: row}, indent=1) + "\n")


def _page() -> Iterator[str]:
    yield "# The memory model\n\nMade by `python -m bench.memory`."
    yield (
        f"One LoRA of rank {RANK}, no row beyond 1,024 tokens: the tokens of a step, what is computed again, "
        "the peak in GiB."
    )
    yield _markdown(table(RANK, 1024), ["model", "weights", *(f"{card} GiB" for card in CARDS)])
    for file, found in (("counted.json", "counted"), ("measured.json", "measured")):
        if (path := RESULTS / file).exists():
            rows = [
                {**row, **{key: f"{row[key] / GB:.2f}" for key in (found, "predicted")}}
                for row in json.loads(path.read_text()).values()
            ]
            yield _markdown(rows, list(rows[0]))


def _markdown(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    lines = [columns, ["---"] * len(columns), *([str(row[each]) for each in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
