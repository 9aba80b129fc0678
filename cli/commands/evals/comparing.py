"""Chooses which runs of an eval are compared, and asks for the comparisons."""

from collections.abc import Iterator, Sequence
from typing import Any

from cli.client import output
from cli.client.client import Client
from cli.client.errors import Refused

Run = dict[str, Any]


def base_and_tuned(runs: Sequence[Run]) -> tuple[Run | None, Sequence[Run]]:
    """Return the run of the base, and the completed runs to compare with it. `runs` has the oldest first.

    The base is the newest completed run of the base model. If all runs judge base models, or none does, the
    oldest is the base. The dashboard chooses alike.
    """
    completed = [run for run in runs if run["status"] == "completed"]
    if not completed:
        return None, []
    of_base = [run for run in completed if _is_of_base(run)]
    tuned = [run for run in completed if not _is_of_base(run)]
    if of_base and tuned:
        return of_base[-1], tuned
    return completed[0], completed[1:]


def comparisons(client: Client, path: str, base: Run | None, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Yield the comparison of each run with the base. Say why if the server refuses it.

    `path` is that of their eval. Without a base, there is nothing to compare.
    """
    if base is None:
        return
    for run in runs:
        try:
            yield client.get(f"{path}/compare", base=base["id"], tuned=run["id"])
        except Refused as error:
            output.note(f"{run['name']} is not compared: {error}", "yellow")


def _is_of_base(run: Run) -> bool:
    """Return whether the run judges a base model: the name of a fine-tuned model begins with `ft:`."""
    role = (run["metadata"] or {}).get("model")
    return bool(role == "base" if role else not run["model"].startswith("ft:"))
