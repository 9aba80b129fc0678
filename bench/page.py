"""Keeps the results of a day: a JSON file with a section for each workload, and the page made from it.

    python -m bench.page bench/results/2026-11-29.json     # writes the .md again

A run of some workloads replaces their sections. It leaves the other sections of the day as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.command_line import write_again
from bench.pages import report
from bench.training import sixteen_jobs

Section = dict[str, Any]
Day = dict[str, Section]
"""Sections by workload, in the page's order."""

ORDER = ("gsm8k", "text2sql", "e2e16", "preference")
NOTES = """\
- tokens/s: the tokens in the rows, without padding, divided by the seconds of the whole training run.
- computed/s: the tokens that went through the base model. Padding makes the number larger. It is smaller if
  several rows begin with the same tokens and these tokens are computed once.
- of ceiling: how much of the machine's speed is used. The operations that the rows need, each row by itself,
  per second, divided by the measured speed of matrix products alone.
- first step: from the start of the process to the end of its first step. "Warm" is the same for a second job,
  if the base model stays loaded.
- validation loss: the loss of the saved adapter on rows held out. Plain transformers and PEFT compute it in
  fp32 for every trainer. "Ours to it" says how far our loss is above (+) or below (-) that trainer's loss.

All trainers take the same rows in the same order, at the same learning rates. TRL and LLaMA-Factory also
learn the line break after an answer, which the validation leaves out. Every adapter starts from random
factors; each trainer draws its own factors, at another point of its run.
"""
NOTES_ON_MANY = """\
Makespan: from the start of the first process until the last adapter is saved. For the service: from the first
request until the API has the last adapter, with the base model loaded. If a trainer ran fewer than {jobs}
jobs, the makespan is the mean time of its jobs, times {jobs}. The validation loss is
the mean over the first {turns} jobs, and "ours" is the loss of the cohort. The service shuffles the rows of a
job, so it takes the rows of the shuffled cohort. In this file, rows that begin alike are neighbours: shuffled
rows share fewer tokens.
"""


def merge(path: Path, name: str, section: Section) -> Day:
    """Replace section `name` of the day, write the file and the page beside it, and return all sections."""
    day: Day = json.loads(path.read_text()) if path.exists() else {}
    day[name] = section
    day = {known: day[known] for known in ORDER if known in day}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(day, indent=1) + "\n")
    write_page(path, day)
    return day


def write_page(path: Path, day: Day) -> None:
    """Write the page beside the file with the results."""
    path.with_suffix(".md").write_text(page(day, path.stem))


def page(day: Day, title: str) -> str:
    sections = "\n".join(f"## {name}\n\n{section_text(section)}" for name, section in day.items())
    return f"# Tunery beside others, {title}\n\n{sections}\n## What the columns mean\n\n{NOTES}"


def section_text(section: Section) -> str:
    """Return the work, the machine, the table and the failures of one workload, as Markdown."""
    text = f"{work(section)}\n{place(section)}\n\n{table(section)}{report.failures(section['runs'])}"
    if section["kind"] == "many jobs":
        text += "\n" + NOTES_ON_MANY.format(jobs=section["jobs"], turns=section["turns"])
    missing = [f"- {peer}: {reason}\n" for peer, reason in section["not_run"].items()]
    return text + ("\n" + "".join(missing) if missing else "")


def table(section: Section) -> str:
    if section["kind"] == "many jobs":
        return sixteen_jobs.table([sixteen_jobs.Line(**line) for line in section["median"]])
    return report.table([report.Line(**line) for line in section["median"]])


def work(section: Section) -> str:
    before = section["validation_loss_before"]
    rows = section["validation_rows"]
    held_out = (
        (f"{rows // 2} pairs" if section.get("pairs") else f"{rows} rows")
        + " held out"
        + (f", on which the base alone has a loss of {before:.4f}" if before else "")
    )
    if section["kind"] == "many jobs":
        ranks = ", ".join(str(rank) for rank in sorted(set(section["ranks"])))
        return (
            f"{section['base_model']}, {section['jobs']} jobs of {section['rows']} rows each "
            f"({section['source']}), {section['tokens']:,} tokens in all, LoRA of ranks {ranks} on all "
            f"linear layers, {section['batch_size']} rows a step, one epoch; {held_out} for each job."
        )
    if section.get("pairs"):
        return (
            f"{section['base_model']}, DPO of a LoRA of rank {section['rank']} on all linear layers. "
            f"{section['rows'] // 2} pairs ({section['source']}), {section['tokens']:,} tokens with a prompt "
            f"before each answer, {section['answer_tokens']:,} of them answers, {section['batch_size'] // 2} "
            f"pairs a step, one epoch; {held_out}. The validation loss is DPO's."
        )
    return (
        f"{section['base_model']}, LoRA of rank {section['rank']} on all linear layers. {section['rows']} "
        f"rows ({section['source']}), {section['tokens']:,} tokens, {section['answer_tokens']:,} of them "
        f"answers, {section['batch_size']} rows a step, one epoch; {held_out}."
    )


def place(section: Section) -> str:
    machine, runs = section["machine"], max(run["run"] for run in section["runs"])
    where = machine["gpu"] or f"{machine['threads']} threads of {machine['cpu']}"
    lines = [
        f"{where} ({', '.join(machine['isa'])}), {machine['memory_bytes'] / 1e9:.0f} GB; "
        f"Python {machine['python']}. Commit {section['commit'] or 'unknown'}, {section['date']}. "
        + ("One run each." if runs == 1 else f"Medians of {runs} runs, the trainers taking turns.")
    ]
    if not machine["gpu"]:
        before, after = (max(section[f"gflops_{when}"].values()) for when in ("before", "after"))
        lines.append(
            f"Matrix products alone ran at {before:.0f} GFLOP/s before and {after:.0f} after, in the faster "
            "type; the ceiling is their mean."
        )
    return "\n".join([*lines, f"Versions: {versions_text(section['versions'])}."])


def versions_text(versions: dict[str, dict[str, str]]) -> str:
    """List each set of package versions once, with the trainers that ran on it."""
    sharing: dict[str, list[str]] = {}
    for trainer, packages in versions.items():
        text = ", ".join(f"{package} {number}" for package, number in packages.items())
        sharing.setdefault(text, []).append(trainer)
    return "; ".join(f"{' and '.join(trainers)}: {packages}" for packages, trainers in sharing.items())


if __name__ == "__main__":
    write_again(__doc__, write_page)
