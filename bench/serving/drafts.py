"""Measure answers with drafts beside the same answers without.

    python -m bench.serving.drafts --data DIR         # about 10 minutes on two idle cores

DIR has text2sql/*.jsonl, toolcall/*.json and alpaca/*.json. A grammar makes the answers those of the rows, as
a model gives them that has learnt its task: SQL, and calls of tools as JSON. Free answers to instructions
have a temperature of 1, so that they do not repeat themselves. All are by a LoRA of rank 16. Both samplers
take turns, and the least time of the processor counts. Answers must be the same. The result is printed, and
written as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench import ROOT
from bench.command_line import add_models, new_parser, positive
from bench.serving.workload import write_adapter, write_json
from bench.training.machine import describe
from bench.training.ours import load_base
from bench.training.workloads import first_lines, source_of
from core.catalog import SMOLLM2
from worker.base_models.model_store import ensure_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.requests import GenerationRequest, Grammar, Sampling
from worker.engine.sampler.sampler import Limits, Sampler

ASKED = 16  # rows of each kind
SAMPLERS = {"without": Limits(cache_bytes=512 << 20, drafts=False), "with": Limits(cache_bytes=512 << 20)}
Row = dict[str, Any]


@dataclass
class Run:
    """The answers to some requests, and what they took."""

    answers: dict[str, list[int]]
    steps: int
    cpu: float
    accepted: int
    rejected: int

    @property
    def rate(self) -> float:
        return sum(map(len, self.answers.values())) / self.cpu


def main() -> None:
    given = arguments(sys.argv[1:])
    torch.set_num_threads(given.threads)
    folder, _ = ensure_model(SMOLLM2, given.models)
    base = load_base(folder)
    with tempfile.TemporaryDirectory() as made:
        folder = write_adapter(base, Path(made) / "adapter", seed=1)
        adapter = Sampler(base, SAMPLERS["with"]).load_adapter(folder, "drafts")
    kinds = {
        "SQL": sql_rows(given.data),
        "calls as JSON": call_rows(given.data),
        "chat": chat_rows(given.data),
    }
    found = {}
    for name, rows in kinds.items():
        asked = [request(base, f"{n}", row, adapter, given.new) for n, row in enumerate(rows)]
        for at_once in (1, ASKED):
            case = f"{name}, {at_once} at once"
            found[case] = measured(base, asked, at_once, given.turns)
            print(case, found[case], flush=True)
    write_json(given.out, {"machine": asdict(describe()), "dtype": str(base.dtype), **found})


def arguments(words: list[str]) -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--new", type=positive, default=64, help="most tokens of an answer (default 64)")
    parser.add_argument("--turns", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/drafts.json")
    return parser.parse_args(words)


def sql_rows(data: Path) -> list[Row]:
    source = source_of("text2sql", data)
    assert source is not None, "there is no text2sql/*.jsonl"
    return first_lines(data / source, ASKED)


def call_rows(data: Path) -> list[Row]:
    """Return chats in which the model calls a tool that the system message describes."""
    (file,) = (data / "toolcall").glob("*.json")
    rows = []
    for chat in json.loads(file.read_text()):
        turns = chat["conversations"]
        if turns[1]["from"] == "function_call":
            told = ("system", f"Answer with a call of one of these tools: {chat['tools']}")
            spoken = [told, ("user", turns[0]["value"]), ("assistant", turns[1]["value"])]
            rows.append({"messages": [{"role": role, "content": content} for role, content in spoken]})
    return rows[:ASKED]


def chat_rows(data: Path) -> list[Row]:
    (file,) = (data / "alpaca").glob("*.json")
    rows = json.loads(file.read_text())[:ASKED]
    return [
        {"messages": [{"role": "user", "content": f"{row['instruction']} {row['input']}"}, {}]}
        for row in rows
    ]


def request(base: ResidentBase, name: str, row: Row, adapter: ServedAdapter, new: int) -> GenerationRequest:
    """Return the request for a row's answer, or for any answer if it has none."""
    *asked, answer = row["messages"]
    prompt = base.tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    grammar = Grammar("regex", re.escape(answer["content"])) if answer else None
    sampling = Sampling(new, temperature=0 if answer else 1, seed=int(name))
    return GenerationRequest(name, list(prompt), sampling, adapter, grammar)


def measured(
    base: ResidentBase, asked: Sequence[GenerationRequest], at_once: int, turns: int
) -> dict[str, Any]:
    """Answer the requests by both samplers in turn, so many at once."""
    best: dict[str, Run] = {}
    for turn in range(turns):
        for name in list(SAMPLERS)[:: 1 if turn % 2 else -1]:
            one = run(Sampler(base, SAMPLERS[name]), asked, at_once)
            best[name] = min(best.get(name, one), one, key=lambda each: each.cpu)
    without, with_drafts = best["without"], best["with"]
    drafted = with_drafts.accepted + with_drafts.rejected
    return {
        "tokens": sum(map(len, without.answers.values())),
        "equal": sum(with_drafts.answers[name] == answer for name, answer in without.answers.items()),
        "tokens_per_cpu_second": {name: round(each.rate, 2) for name, each in best.items()},
        "times": round(with_drafts.rate / without.rate, 3),
        "steps": {name: each.steps for name, each in best.items()},
        "drafted": drafted,
        "accepted_share": round(with_drafts.accepted / max(1, drafted), 2),
    }


def run(sampler: Sampler, asked: Sequence[GenerationRequest], at_once: int) -> Run:
    waiting = list(asked)[::-1]
    found = Run({}, 0, 0.0, 0, 0)
    began = time.process_time()
    while waiting or not sampler.idle:
        while waiting and sampler.load.running + sampler.load.waiting < at_once:
            sampler.submit(waiting.pop())
        found.steps += 1
        for piece in sampler.step():
            if piece.token is not None:
                found.answers.setdefault(piece.request_id, []).append(piece.token)
            if piece.drafted:
                found.accepted += piece.drafted.accepted
                found.rejected += piece.drafted.rejected
    found.cpu = time.process_time() - began
    return found


if __name__ == "__main__":
    main()
