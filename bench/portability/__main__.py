"""Measure adapters of every method in PEFT, vLLM and llama.cpp, and write the tables of docs/portability.md.

    python -m bench.portability                          # what lacks a result, or a runtime; then the page
    python -m bench.portability --only lora,lora-dora    # these again
    python -m bench.portability --only none              # the page alone

The weights of the adapters are random: a runtime that computes another thing answers otherwise all the same.
vLLM needs an environment of its own: `python -m bench.peers.venvs --only vllm`.

On a busy machine, start it with `OMP_NUM_THREADS=1`: threads that wait for each other spin, and a case then
costs several times the processor time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench import ROOT
from bench.command_line import add_models, new_parser
from bench.peers.venvs import DEFAULT_VENVS, interpreter
from bench.portability import page
from bench.portability.adapters import Case, cases, published
from bench.portability.bases import Base, smollm2, tiny
from worker.tasks.portability.measure import measure
from worker.tasks.portability.runtimes import LlamaCpp, MeasuredRuntime, Peft, Vllm

RESULTS = ROOT / "bench" / "results" / "portability"
METHODS, WHOLE = RESULTS / "methods", RESULTS / "smollm2"
ON_SMOLLM2 = Case("lora", "LoRA, rank 16", {"type": "lora"})


def main() -> None:
    given = arguments()
    vllm = interpreter(given.venvs, "vllm")
    first, every = runtimes(vllm, every_form=False), runtimes(vllm, every_form=True)
    if wanted("smollm2", WHOLE, given.only, every):
        run(ON_SMOLLM2, smollm2(given.models), WHOLE, every, name="smollm2")
    with TemporaryDirectory() as room:
        base = tiny(given.models, Path(room) / "tiny")
        for case in cases():
            if wanted(case.name, METHODS, given.only, first):
                run(case, base, METHODS, first)
    page.write((METHODS, WHOLE), ROOT / "docs" / "portability.md")


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    names = [*(case.name for case in cases()), "smollm2"]
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"'none', or some of {names}")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="folder of the environments")
    add_models(parser)
    return parser.parse_args()


def wanted(name: str, results: Path, only: list[str] | None, measured: Sequence[MeasuredRuntime]) -> bool:
    """Return whether to measure an adapter: the named ones, or those that lack a runtime that is here."""
    file = results / f"{name}.json"
    if only is not None or not file.exists():
        return only is None or name in only
    known = {each["runtime"] for each in json.loads(file.read_text())["report"]["runtimes"] if asked(each)}
    return not {each.runtime for each in measured} <= known


def asked(report: dict[str, Any]) -> bool:
    """Return whether the runtime was there when the report was made."""
    return bool(report["status"] != "not_measured")


def runtimes(vllm: Path, *, every_form: bool) -> list[MeasuredRuntime]:
    """Return what can be measured here. Every form is measured, or the forms up to the first that works."""
    found: list[MeasuredRuntime] = [Peft()]
    if vllm.exists():
        found.append(replace(Vllm(vllm), stops_at_success=not every_form))
    return [*found, LlamaCpp(Path(sys.executable))]


@torch.no_grad()
def run(
    case: Case, base: Base, results: Path, measured: list[MeasuredRuntime], name: str | None = None
) -> None:
    """Measure one adapter, and write its result file."""
    print(f"{case.name} on {base.entry.id}", flush=True)
    with TemporaryDirectory() as room:
        folder, files = Path(room) / "adapter", Path(room) / "files"
        files.mkdir()
        source = published(base, case, folder)
        report = measure(source, [], measured, files, lambda phase, _: print(f"  {phase}", flush=True))
    found = {"title": case.title, "adapter": case.adapter, "base": base.entry.id, "weights": "random"}
    results.mkdir(parents=True, exist_ok=True)
    told = json.dumps({**found, "report": report.model_dump(mode="json")}, indent=2)
    (results / f"{name or case.name}.json").write_text(f"{told}\n")
    for each in report.runtimes:
        if each.measured or each.attempts:
            print(f"  {each.name}: {each.status}, {each.needs}: {each.reason}", flush=True)


if __name__ == "__main__":
    main()
