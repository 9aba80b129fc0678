"""Run the GPU's steps without values, or compile its kernels, on a machine without a GPU.

    python -m bench.fake_gpu steps                  # each step: its kernels, and where it waits for the GPU
    python -m bench.fake_gpu steps --only "70 B"    # the steps that have this in their names
    python -m bench.fake_gpu parts                  # what each part that only a GPU has brings, by roofline
    python -m bench.fake_gpu kernels --only sm_90   # registers, memory and occupancy of each kernel

It needs a C compiler and PyTorch's CUDA build: `python -m bench.peers.venvs --only cuda` installs it.
Each line of the output is JSON. Without `--only` the lines become a table of bench/results/gpu.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import ROOT
from bench.command_line import new_parser
from bench.fake_gpu import driver
from bench.pages.tables import markdown

RESULTS = ROOT / "bench" / "results" / "gpu"


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("what", choices=["steps", "parts", "kernels"])
    parser.add_argument("--only", default="", help="a part of the names of steps, or an architecture")
    parser.add_argument("--few-layers", action="store_true", help="call steps with two layers instead of all")
    given = parser.parse_args()
    driver.load()
    rows = []
    for row in _rows(given.what, given.only, given.few_layers):
        print(json.dumps(row), flush=True)
        rows.append({name: value for name, value in row.items() if name != "waits"})
    if not given.only and not given.few_layers:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{given.what}.md").write_text(_table(given.what, rows), "utf-8")


def _rows(what: str, only: str, few_layers: bool) -> Iterator[dict[str, Any]]:
    if what == "steps":
        from bench.fake_gpu import steps

        return steps.rows(only, few_layers)
    if what == "parts":
        from bench.fake_gpu import parts

        return parts.rows(only)
    from bench.fake_gpu import kernels

    return kernels.rows(only)


def _table(what: str, rows: Sequence[Mapping[str, Any]]) -> str:
    rows = _by_architecture(rows) if what == "kernels" else rows
    names = list(rows[0])
    table = markdown(names, [[str(row[name]) for name in names] for row in rows])
    legend = ": registers / bytes in memory / KiB of shared memory / occupancy" if what == "kernels" else ""
    return f"Made by `python -m bench.fake_gpu {what}`{legend}.\n\n{table}"


def _by_architecture(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each kernel: registers / bytes spilled / KiB of shared memory / occupancy."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        kernel = row["function"], row["kernel"]
        own = found.setdefault(kernel, {"function": kernel[0], "kernel": kernel[1]})
        numbers = (row[name] for name in ("registers", "spilled, bytes", "shared, KiB", "occupancy"))
        own[row["for"]] = " / ".join(map(str, numbers))
    return list(found.values())


if __name__ == "__main__":
    main()
