"""Tables of what several samples of each row say: is there anything to learn?"""

from collections.abc import Sequence
from typing import Any

from cli.client import output
from cli.client.client import Client

ROW = ("row", "mean_score", "passed", "samples", "prompt")
MOST_SHOWN = 80  # characters of a prompt


def show_samples(client: Client, path: str, runs: Sequence[dict[str, Any]]) -> None:
    """Print what the samples say, for each run and criterion with several. `path` is that of the eval."""
    for run in runs:
        for result in run["criteria"]:
            if found := result["sampled"]:
                output.data(
                    f"\n{run['name']} by {result['name']}, {found['samples_per_row']} samples of each row"
                )
                _show(found)
                output.data("")
                output.table(_rows(client, f"{path}/runs/{run['id']}", found), ROW)
                output.data(f"\n{found['verdict'].replace('_', ' ').capitalize()}. {found['advice']}")


def _show(found: dict[str, Any]) -> None:
    shown = {"rows": found["rows"]}
    shown |= {f"pass@{k}": f"{value:.3f}" for k, value in (found["pass_at_k"] or {}).items()}
    counted = ("rows_without_variance", "rows_never_passed", "rows_always_passed")
    shown |= {name.replace("_", " "): _counted(found[name], found["rows"]) for name in counted}
    bins = found["mean_scores"]
    shown["rows by mean score"] = f"{bins['counts']} from {bins['low']:.4g} to {bins['high']:.4g}"
    output.record(shown, tuple(shown))


def _counted(count: int | None, rows: int) -> str | None:
    return None if count is None else f"{count} ({count / rows:.0%})"


def _rows(client: Client, path: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the worst rows and then the best ones, each once, with the ends of their prompts."""
    shown = {row["datasource_item_id"]: row for row in found["worst"] + found["best"][::-1]}
    return [
        {**row, "row": index + 1, "prompt": _prompt(client, path, index * found["samples_per_row"])}
        for index, row in shown.items()
    ]


def _prompt(client: Client, path: str, index: int) -> str | None:
    """Return the end of the prompt of a record, in one line."""
    run_id = path.rpartition("/")[2]
    asked = client.get(f"{path}/output_items/{run_id}-{index}")["sample"]["input"]
    return " ".join(asked[-1]["content"].split())[-MOST_SHOWN:] if asked else None
