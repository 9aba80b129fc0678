"""Measure adapters of every method in PEFT, vLLM and llama.cpp, and write the tables of docs/portability.md.

    python -m bench.portability                          # what has no result yet; then the page
    python -m bench.portability --only lora,lora-dora    # these again
    python -m bench.portability --only none              # the page alone

The weights of the adapters are random: a runtime that computes another thing answers otherwise all the same.
vLLM needs an environment of its own: `python -m bench.peers.venvs --only vllm`. Without it, its results stay
as they are.

On a busy machine, start it with `OMP_NUM_THREADS=1`: threads that wait for each other spin, and a case then
costs several times the processor time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import BENCH, ROOT
from bench.command_line import add_models, names_in, new_parser
from bench.peers.venvs import DEFAULT_VENVS, interpreter
from bench.portability.adapters import Base, Case, cases, on_models, published, smollm2, tiny
from bench.portability.page import MEASURED, ON_SMOLLM2, Result, write
from worker.tasks.portability.measure import measure
from worker.tasks.portability.runtimes import LlamaCpp, MeasuredRuntime, Peft, Vllm

RESULTS = BENCH / "results/portability.json"
RUNTIME_FIELDS = {"name", "version", "status", "needs", "figures", "attempts"}


def main() -> None:
    found: dict[str, Result] = json.loads(RESULTS.read_text())
    every = {case.name: case for case in (*cases(), *on_models())}
    every[ON_SMOLLM2] = Case("lora", "LoRA, rank 16", {"type": "lora"})
    parser = new_parser(__doc__)
    parser.add_argument("--only", help=f"'none', or some of {', '.join(every)}, with commas")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="folder of the environments")
    add_models(parser)
    given = parser.parse_args()
    wanted = [name for name in every if name not in found]
    if given.only:
        wanted = [] if given.only == "none" else names_in(given.only, list(every))
    with TemporaryDirectory() as room:
        for name in wanted:
            whole = name == ON_SMOLLM2
            case = every[name]
            folder = Path(room) / case.model
            base = smollm2(given.models) if whole else tiny(given.models, folder, case.model)
            result = run(case, base, runtimes(given.venvs, every_form=whole))
            found[name] = with_earlier(result, found.get(name))
            lines = ",\n".join(f"{json.dumps(each)}: {json.dumps(found[each])}" for each in sorted(found))
            RESULTS.write_text(f"{{\n{lines}\n}}\n")
    write(found, ROOT / "docs/portability.md")


def runtimes(venvs: Path, *, every_form: bool) -> list[MeasuredRuntime]:
    """Return what can be measured here. Every form is measured, or the forms up to the first that works."""
    found: list[MeasuredRuntime] = [Peft()]
    if (vllm := interpreter(venvs, "vllm")).exists():
        found.append(replace(Vllm(vllm), stops_at_success=not every_form))
    return [*found, LlamaCpp(Path(sys.executable))]


@torch.no_grad()
def run(case: Case, base: Base, measured: list[MeasuredRuntime]) -> Result:
    """Measure one adapter, and return what the page needs."""
    print(f"{case.name} on {base.entry.id}", flush=True)
    with TemporaryDirectory() as room:
        folder, files = Path(room) / "adapter", Path(room) / "files"
        files.mkdir()
        source = published(base, case, folder)
        report = measure(source, [], measured, files, lambda phase, _: print(f"  {phase}", flush=True))
    return {
        "title": case.title,
        "base": base.entry.id,
        "prompts": report.prompts.model_dump(mode="json", include={"count", "new_tokens"}),
        "runtimes": [
            each.model_dump(mode="json", include=RUNTIME_FIELDS)
            for each in report.runtimes
            if each.runtime in MEASURED
        ],
    }


def with_earlier(result: Result, earlier: Result | None) -> Result:
    """Return the result, with the earlier one of each runtime that was not measured this time."""
    known = {each["name"]: each for each in earlier["runtimes"]} if earlier else {}
    runtimes = [
        known.get(each["name"], each) if each["status"] == "not_measured" else each
        for each in result["runtimes"]
    ]
    return {**result, "runtimes": runtimes}


if __name__ == "__main__":
    main()
