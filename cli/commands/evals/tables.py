"""Tables of what runs of evals have found."""

from collections.abc import Sequence
from typing import Any

from cli.client import output

RUN = ("id", "model", "status", "rows", "errors")
COMPARED = ("criterion", "base", "tuned", "difference", "p_value", "verdict", "better_rows", "worse_rows")


def show_runs(runs: Sequence[dict[str, Any]]) -> None:
    """Print a line for each run: the value of each criterion with its 95 % interval, and why it failed."""
    rows = [_run(run) for run in runs]
    names = list(dict.fromkeys(result["name"] for run in runs for result in run["criteria"]))
    failed = ("error",) if any(row["error"] for row in rows) else ()
    output.table(rows, (*RUN, *names, *failed))


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print how a model differs from the base by each criterion, and how likely that is by chance."""
    base, tuned = comparison["base"]["model"], comparison["tuned"]["model"]
    output.data(f"\n{tuned} compared with {base}, on {comparison['compared_rows']} rows")
    output.table([_compared(criterion) for criterion in comparison["criteria"]], COMPARED)


def _run(run: dict[str, Any]) -> dict[str, Any]:
    counts = run["result_counts"]
    shown = {name: run[name] for name in ("id", "model", "status")}
    values = {result["name"]: _interval(result, "value") for result in run["criteria"]}
    counted = {"rows": counts["total"], "errors": counts["errored"]}
    return {**values, **shown, **counted, "error": run["error"]["message"] or None}


def _compared(criterion: dict[str, Any]) -> dict[str, Any]:
    p_value = criterion["adjusted_p_value"]
    return {
        "criterion": criterion["name"],
        "base": _interval(criterion["base"], "value"),
        "tuned": _interval(criterion["tuned"], "value"),
        "difference": _interval(criterion, "difference"),
        "p_value": None if p_value is None else f"{p_value:.3f}",
        "verdict": criterion["verdict"].replace("_", " "),
        "better_rows": criterion["rows"]["better"],
        "worse_rows": criterion["rows"]["worse"],
    }


def _interval(found: dict[str, Any], name: str) -> str | None:
    """Return a value with its 95 % interval, such as `0.812 [0.790, 0.833]`."""
    if found[name] is None:
        return None
    ends = (found["low"], found["high"])
    shown = "" if None in ends else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    return f"{found[name]:.3f}{shown}"
