"""Keeps the results of learning from rewards: a JSON file with a section for each task, a page, and curves.

    python -m bench.reinforce.page bench/results/reinforce-2026-12-02.json     # writes both again

A run of some tasks replaces their sections. It leaves the other sections of the day as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from api.jobs.candidates.curves import drawn
from bench import page as trainers
from bench.command_line import write_again
from bench.pages.tables import NOTHING, markdown, shown
from bench.peers.rewards import LearningResult
from bench.reinforce.curves import common_reward, seconds_to
from bench.reinforce.held_out import mean_reward, means_of_seeds

OURS = "Tunery"
NOTES = """\
- held-out reward: the mean reward of one answer to each prompt held out, sampled with temperature 1. Plain
  transformers and PEFT sample it for every model. The interval of 95 % is over the prompts.
- after the warm-up: the model of the supervised job from which all trainers of a task continue.
- step: the median seconds of a step, which are those of sampling, grading and the update.
- to the reward: the seconds of the steps until the held-out reward that every trainer reaches, in validations
  of its own. Validations take none of these seconds. Two of them are joined by a straight line.
- whole run: from the request, or the start of the process, to the adapter, with loading and validations.
- peak memory: the largest resident set of a process.
"""


def write(path: Path, sections: dict[str, Any]) -> None:
    """Write the results, and the page and the curves beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sections, indent=1) + "\n")
    for name, section in sections.items():
        picture_of(path, name).write_text(picture(section))
    parts = [
        f"## {name}\n\n{section_text(section)}\n{link(path, name)}" for name, section in sections.items()
    ]
    title = f"# Learning from rewards, {path.stem.removeprefix('reinforce-')}"
    path.with_suffix(".md").write_text(
        "\n".join([title + "\n", *parts, f"## What the columns mean\n\n{NOTES}"])
    )


def picture_of(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}.svg")


def link(path: Path, name: str) -> str:
    return f"![Held-out reward over the seconds of the steps]({picture_of(path, name).name})\n"


def section_text(section: dict[str, Any]) -> str:
    """Return the work, the machine and both tables of a task, as Markdown."""
    failures = "".join(
        f"\n- {run['trainer']}, seed {run['seed']} failed: {run['failure']}" for run in failed(section)
    )
    return f"{work(section)}\n\n{rewards_table(section)}\n{times_table(section)}{failures}"


def work(section: dict[str, Any]) -> str:
    return (
        f"{job_text(section)} {warm_up_text(section['setup'].get('warm_up_rows'))}"
        f"{section['held_out']} prompts held out, the first {section['validation']} of them for the curves. "
        f"Seeds: {section['seeds']}. Runs of each: {section['runs_of_each']}. {machine_text(section)} "
        f"Versions: {trainers.versions_text(versions(section))}."
    )


def job_text(results: dict[str, Any]) -> str:
    """Say what a job from rewards was: its base model, its adapter, its steps and its answers."""
    setup = results["setup"]
    return (
        f"{results['base_model']}, LoRA of rank {setup['rank']} on all linear layers, learning rate "
        f"{setup['learning_rate']:g}. {results['steps']} steps of {setup['batch_size']} prompts with "
        f"{setup['num_generations']} answers of at most {setup['max_completion_tokens']} tokens."
    )


def warm_up_text(rows: int | None) -> str:
    if not rows:
        return ""
    return f"All trainers continue from a supervised job on the first {rows} of the prompts. "


def machine_text(results: dict[str, Any]) -> str:
    """Say where, when and of which commit results were measured."""
    machine = results["machine"]
    return (
        f"{machine['threads']} threads of {machine['cpu']} ({', '.join(machine['isa'])}). "
        f"Commit {results['commit'] or 'unknown'}, {results['date']}."
    )


def results(section: dict[str, Any]) -> dict[str, list[LearningResult]]:
    """Return the results by trainer."""
    found: dict[str, list[LearningResult]] = {}
    for run in section["runs"]:
        if run["result"]:
            found.setdefault(run["trainer"], []).append(LearningResult(**run["result"]))
    return found


def failed(section: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in section["runs"] if run["failure"]]


def versions(section: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {trainer: found[0].versions for trainer, found in results(section).items()}


def rewards_table(section: dict[str, Any]) -> str:
    rows = []
    for name, rewards in section["rewards"].items():
        found, seeds = mean_reward(rewards), means_of_seeds(rewards)
        of_seeds = f"{min(seeds):.3f} to {max(seeds):.3f}" if len(seeds) > 1 else NOTHING
        between = f"{shown(found.low, '.3f')} to {shown(found.high, '.3f')}"
        rows.append((name, f"{found.value:.3f}", between, of_seeds))
    return markdown(("model", "held-out reward", "interval of 95 %", "of the seeds"), rows)


def times_table(section: dict[str, Any]) -> str:
    """Return a table of the medians over all runs of a trainer."""
    found = results(section)
    target, seconds = times_to_reward(found)
    ours = seconds.get(OURS)
    rows = []
    for trainer, each in found.items():
        own = seconds[trainer]
        cells = (
            shown(median(second for one in each for second in one.step_seconds), ".2f"),
            shown(own, ".1f"),
            shown(own / ours if own and ours else None, ".2f"),
            shown(median(one.seconds_to_adapter for one in each), ".0f"),
            shown(median(one.peak_bytes for one in each) / 1e9, ".2f"),
        )
        rows.append((trainer, *cells))
    reward = f"to the reward {shown(target, '.3f')}, s"
    return markdown(("trainer", "step, s", reward, f"× {OURS}", "whole run, s", "peak memory, GB"), rows)


def times_to_reward(found: dict[str, list[LearningResult]]) -> tuple[float | None, dict[str, float | None]]:
    """Return the reward that every trainer reaches, and the seconds of each until it.

    The curve of a trainer is the mean of its runs.
    """
    curves = {trainer: mean_curve([one.curve for one in each]) for trainer, each in found.items()}
    target = common_reward([*curves.values()]) if curves else None
    return target, {
        trainer: None if target is None else seconds_to(curve, target) for trainer, curve in curves.items()
    }


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the means of the seconds and of the rewards, validation by validation."""
    return [
        (mean(seconds for seconds, _ in points), mean(reward for _, reward in points))
        for points in zip(*curves, strict=True)
    ]


def picture(section: dict[str, Any]) -> str:
    lines = [
        (f"{run['trainer']}, seed {run['seed']}", LearningResult(**run["result"]).curve)
        for run in section["runs"]
        if run["result"] and run["number"] == 1
    ]
    return drawn(lines, "seconds", "held-out reward")


if __name__ == "__main__":
    write_again(__doc__, write)
