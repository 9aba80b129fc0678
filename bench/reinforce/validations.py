"""The first and the last validation of a finished job, graded again from the answers that are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from bench.peers.rewards import Row
from cli.client.client import Client
from worker.trainer.reinforce.drift import Change
from worker.trainer.reinforce.measures import Measured, mean_of

Graders = Mapping[str, Callable[[str, Row], float]]
"""The functions that give an answer to a row its score, by the names of measures."""


def first_and_last(client: Client, eval_id: str, graders: Graders) -> tuple[Measured, Measured]:
    """Return the scores of the answers of a job's first and last validation."""
    path = f"/evals/{eval_id}/runs"
    (_, first), *_, (_, last) = by_step(client.every(path))
    found = [scores([*client.every(f"{path}/{run_id}/output_items")], graders) for run_id in (first, last)]
    return found[0], found[1]


def by_step(runs: Iterable[dict[str, Any]]) -> list[tuple[int, str]]:
    """Return the step and the id of each run, step after step."""
    return sorted((int(run["metadata"]["step"]), run["id"]) for run in runs)


def scores(items: list[dict[str, Any]], graders: Graders) -> Measured:
    """Return the scores of output items, each an answer to a row, by the name of each grader."""
    answers = [(item["sample"]["output"][0]["content"], item["datasource_item"]) for item in items]
    return {name: [score(*answer) for answer in answers] for name, score in graders.items()}


def change(first: Measured, last: Measured, name: str) -> dict[str, Any]:
    """Return a measure's means, and their difference with interval and P value by the gate's own test."""
    difference = Change(first, last).of(name)
    assert difference is not None, "each answer has a score"
    return {"before": mean_of(first, name), "after": mean_of(last, name), **asdict(difference)}
