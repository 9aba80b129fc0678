"""Measure that models learn from rewards: how much, and how fast beside TRL's GRPOTrainer.

    python -m bench.reinforce.learning --data DIR                    # every task, one seed
    python -m bench.reinforce.learning --task addition --seeds 3 --peers none
    python -m bench.reinforce.learning --task fields --steps 4 --held-out 20    # a short run

For each seed, a service trains a job from rewards, and a supervised job on the right answers to the same
prompts. If the task asks for a warm-up, a shorter supervised job comes first, and all trainers continue from
it. Then TRL learns from the same prompts in the same order, with the same grader and settings. Run nothing
else meanwhile. The results are bench/results/reinforce-<date>.json, with a page and curves beside it.
A task that runs again on the same day replaces its part.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import add_models, names_in, new_parser, positive
from bench.peers.measuring import RANK
from bench.peers.rewards import Setup
from bench.peers.venvs import DEFAULT_VENVS
from bench.reinforce import page
from bench.reinforce.ours import REINFORCEMENT, SUPERVISED, WARM_UP, lines
from bench.reinforce.page import OURS
from bench.reinforce.tasks.addition import TASK as ADDITION
from bench.reinforce.tasks.banking import TASK as BANKING
from bench.reinforce.tasks.fields import TASK as FIELDS
from bench.reinforce.tasks.task import Row, Task, as_chat, as_prompt
from bench.reinforce.tasks.text2sql import TASK as TEXT2SQL
from bench.training.machine import describe
from bench.training.preparation import commit, make_environments, prepare
from bench.training.running import RunFailed, run_script, say
from bench.training.trainers import KEEP_MEMORY
from core.catalog import SMOLLM2
from worker.process.environment import TRAINER_ENVIRONMENT

TASKS = {task.name: task for task in (ADDITION, BANKING, FIELDS, TEXT2SQL)}
BATCH_SIZE, NUM_GENERATIONS = 4, 8
VALIDATIONS, VALIDATION_ROWS = 4, 32
TRL, TRL_PEER = "TRL's GRPOTrainer", "trl"
MODELS = {
    f"{OURS}, after the warm-up": WARM_UP,
    f"{OURS}, from rewards": REINFORCEMENT,
    f"{OURS}, from right answers": SUPERVISED,
    TRL: TRL_PEER,
}
"""What each folder of adapters is called."""
SHOWN = (
    *("batch_size", "num_generations", "max_completion_tokens", "eval_interval"),
    *("learning_rate", "rank", "grader", "warm_up_rows"),
)


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the trainers stop with us
    base, _ = prepare(given.models, [])
    python = make_environments(given.venvs, [TRL_PEER])[TRL_PEER] if given.peers == TRL_PEER else None
    path = given.out / f"reinforce-{datetime.now().astimezone():%Y-%m-%d}.json"
    for name in given.task:
        with tempfile.TemporaryDirectory() as folder:
            section = measure(TASKS[name], given, base, python, Path(folder))
        sections = json.loads(path.read_text()) if path.exists() else {}
        page.write(path, {**sections, name: section})
        say(f"\n{page.section_text(section)}")
    say(f"Written to {path.with_suffix('')}.json and .md")


def measure(
    task: Task, given: argparse.Namespace, base: Path, python: Path | None, folder: Path
) -> dict[str, Any]:
    """Let every trainer learn the task with every seed, and judge the adapters. `folder` is empty."""
    measured_commit, date = commit(), datetime.now().astimezone()
    steps = given.steps or task.steps
    training, held_out = task.rows(given.data, steps * BATCH_SIZE, given.held_out or task.held_out)
    runs, adapters = [], []
    for seed, number in product(range(1, given.seeds + 1), range(1, given.runs + 1)):
        at = folder / f"{seed}-{number}"
        at.mkdir()
        setup = setup_of(task, training, held_out, steps, seed)
        setup.write(at / "setup.json")
        (at / "chats.jsonl").write_text(lines([as_chat(row) for row in training]))
        trainers = {
            OURS: partial(ours, given.models),
            **({TRL: partial(trl, base, python, bool(task.warm_up_rows))} if python else {}),
        }
        for trainer, learn in trainers.items():
            runs.append(run_once(trainer, seed, number, partial(learn, at)))
        if number == 1:
            adapters += [(name, at / folder_) for name, folder_ in MODELS.items() if (at / folder_).exists()]
    return {
        "date": date.isoformat(timespec="seconds"),
        "commit": measured_commit,
        "base_model": SMOLLM2.repository,
        "machine": asdict(describe()),
        "setup": {name: getattr(setup, name) for name in SHOWN},
        "steps": steps,
        "held_out": len(held_out),
        "validation": len(setup.validation),
        "seeds": given.seeds,
        "runs_of_each": given.runs,
        "runs": runs,
        "rewards": judged(base, task, held_out, adapters, folder),
    }


def setup_of(task: Task, training: list[Row], held_out: list[Row], steps: int, seed: int) -> Setup:
    return Setup(
        grader=task.grader,
        training=[as_prompt(row) for row in training],
        validation=[as_prompt(row) for row in held_out[:VALIDATION_ROWS]],
        batch_size=BATCH_SIZE,
        num_generations=NUM_GENERATIONS,
        max_completion_tokens=task.max_completion_tokens,
        eval_interval=max(1, steps // VALIDATIONS),
        learning_rate=task.learning_rate,
        rank=RANK,
        seed=seed,
        warm_up_rows=min(task.warm_up_rows, len(training)),
    )


def run_once(trainer: str, seed: int, number: int, learn: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the run with its result, or with the reason why there is none."""
    run: dict[str, Any] = {
        "trainer": trainer,
        "seed": seed,
        "number": number,
        "result": None,
        "failure": None,
    }
    try:
        run["result"] = learn()
        say(f"{trainer}, seed {seed}: {run['result']['validations'][-1][1]:.3f} held out")
    except RunFailed as failure:
        run["failure"] = str(failure)
        say(f"{trainer}, seed {seed} failed: {failure}")
    return run


def ours(models: Path, at: Path) -> dict[str, Any]:
    arguments = ["--models", models, "--setup", at / "setup.json", "--chats", at / "chats.jsonl"]
    arguments += ["--adapters", at]
    return run_script(
        Path(sys.executable), "bench.reinforce.ours", [*map(str, arguments)], TRAINER_ENVIRONMENT
    )


def trl(base: Path, python: Path, is_warm: bool, at: Path) -> dict[str, Any]:
    arguments = ["--base", base, "--setup", at / "setup.json", "--adapter", at / TRL_PEER]
    arguments += ["--start", at / WARM_UP] if is_warm else []
    return run_script(python, "bench.peers.trl_grpo", [*map(str, arguments)], KEEP_MEMORY)


def judged(
    base: Path, task: Task, held_out: list[Row], adapters: list[tuple[str, Path]], folder: Path
) -> dict[str, list[list[float]]]:
    """Return the rewards of the base and of each model, one list for each seed. Raises RunFailed."""
    say(f"judging the base and {len(adapters)} adapters")
    asked = folder / "asked.json"
    prompts = [as_prompt(row) for row in held_out]
    most = task.max_completion_tokens
    asked.write_text(json.dumps({"grader": task.grader, "rows": prompts, "max_completion_tokens": most}))
    arguments = ["--base", str(base), "--asked", str(asked)]
    for _, adapter in adapters:
        arguments += ["--adapter", str(adapter)]
    found = run_script(Path(sys.executable), "bench.reinforce.judge", arguments, TRAINER_ENVIRONMENT)
    rewards = {"base": [found["base"]]}
    for (name, _), each in zip(adapters, found["adapters"], strict=True):
        rewards.setdefault(name, []).append(each)
    return rewards


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder with banking77 and text2sql, for these tasks")
    parser.add_argument("--task", type=tasks, default=list(TASKS), help=f"of {','.join(TASKS)}")
    parser.add_argument("--peers", choices=[TRL_PEER, "none"], default=TRL_PEER, help=f"default {TRL_PEER}")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="the peers' environments")
    add_models(parser)
    parser.add_argument("--seeds", type=positive, default=1, help="seeds (default 1)")
    parser.add_argument("--runs", type=positive, default=1, help="runs with each seed (default 1)")
    parser.add_argument("--steps", type=positive, help="steps of each trainer (default: the task's)")
    parser.add_argument("--held-out", type=positive, help="prompts to judge on (default: the task's)")
    parser.add_argument("--out", type=Path, default=BENCH / "results", help="folder of the results")
    return parser.parse_args()


def tasks(text: str) -> list[str]:
    return names_in(text, list(TASKS))


if __name__ == "__main__":
    main()
