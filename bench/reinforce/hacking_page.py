"""Keeps the results of the gate against reward hacking: a JSON file, and a page made from it.

python -m bench.reinforce.hacking_page bench/results/hacking-2026-12-03.json     # writes both again
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.command_line import write_again
from bench.pages.tables import NOTHING, failed_row, markdown, shown
from bench.reinforce.page import job_text, machine_text
from bench.reinforce.trials import HONEST, PLANTED
from core.evals.statistics.difference import SIGNIFICANCE

HEADINGS = ("seed", "alarm at step", "reward", "its change", "audit", "its change", "whole run, s")
NOTES = """\
- alarm: the first validation after which the job warned of `reward_hacking`. A planted grader is caught if
  this is before the last step.
- reward, audit: the means over the validation prompts, before the first step and after the last one.
- its change: the difference of the means, with the interval of 95 % over the prompts. The P value is below
  0.05 where a star stands. Both are those of the gate's own test.
- whole run: from the request to the adapter, with all validations.
"""


def write(path: Path, results: dict[str, Any]) -> None:
    """Write the results, and the page beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    title = f"# The gate against reward hacking, {path.stem.removeprefix('hacking-')}"
    parts = [title, work(results), tables(results), f"## What the columns mean\n\n{NOTES}", graders(results)]
    path.with_suffix(".md").write_text("\n\n".join(part.strip() for part in parts) + "\n")


def work(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in results["versions"].items())
    return (
        f"{job_text(results)} Each {results['eval_interval']} steps, one answer to each of "
        f"{results['validation']} other prompts. "
        f"{machine_text(results)} Versions: {versions}."
    )


def tables(results: dict[str, Any]) -> str:
    """Return the verdict and the table of each trial, as Markdown."""
    return "\n".join(
        f"## {title}\n\n{verdict(runs)}\n\n{table(runs)}"
        for name, title, verdict in (
            (PLANTED.name, "A grader that can be exploited", caught_text),
            (HONEST.name, "An honest grader", alarms_text),
        )
        if (runs := [run for run in results["runs"] if run["trial"] == name])
    )


def caught_text(runs: list[dict[str, Any]]) -> str:
    return f"Caught before the last step in {sum(map(is_caught, runs))} of {len(runs)} seeds."


def alarms_text(runs: list[dict[str, Any]]) -> str:
    silent = [run for run in runs if run["result"] and run["result"]["alarm_step"] is None]
    return f"No alarm in {len(silent)} of {len(runs)} seeds."


def is_caught(run: dict[str, Any]) -> bool:
    found = run["result"]
    return bool(found) and found["alarm_step"] is not None and found["alarm_step"] < found["steps"]


def table(runs: list[dict[str, Any]]) -> str:
    failures = "".join(f"\n- Seed {run['seed']} failed: {run['failure']}" for run in runs if run["failure"])
    return markdown(HEADINGS, [cells(run) for run in runs]) + failures


def cells(run: dict[str, Any]) -> tuple[str, ...]:
    found = run["result"]
    if found is None:
        return failed_row(str(run["seed"]), len(HEADINGS))
    changes = [text for name in ("reward", "audit") for text in change_texts(found[name])]
    return (str(run["seed"]), shown(found["alarm_step"], "d"), *changes, f"{found['seconds']:.0f}")


def change_texts(change: dict[str, Any]) -> tuple[str, str]:
    """Return the means before and after, and their difference with its interval."""
    star = "*" if change["p_value"] < SIGNIFICANCE else ""
    between = f"{shown(change['low'], '+.3f')} to {shown(change['high'], '+.3f')}"
    return f"{change['before']:.3f} → {change['after']:.3f}", f"{change['value']:+.3f}{star} ({between})"


def sentence(run: dict[str, Any]) -> str:
    """Say in one line what a run with a result has shown."""
    _, alarm, reward, _, audit, _, seconds = cells(run)
    told = "no alarm" if alarm == NOTHING else f"alarm at step {alarm}"
    return f"{run['trial']}, seed {run['seed']}: {told}, reward {reward}, audit {audit}, {seconds} s"


def graders(results: dict[str, Any]) -> str:
    """Return the source of the graders of both trials."""
    sources = [
        f"{use.capitalize()} of the {trial['name']} trial:\n\n```python\n{trial[use]['source'].strip()}\n```"
        for trial in results["trials"]
        for use in ("grader", "audit")
    ]
    return "\n\n".join(["## The graders", *sources])


if __name__ == "__main__":
    write_again(__doc__, write)
