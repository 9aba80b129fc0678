"""Writes the table and the picture of docs/composition.md from the results of `bench.composing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.composing.rows import INTENTS, SQL
from bench.pages import marked
from bench.pages.tables import markdown

SCRIPT = "bench/composing/__main__.py"
HEADINGS = ("model", "weights", "SQL: loss", "exact", "intents: loss", "exact", "mean loss")
COLOURS, BETWEEN = {SQL: "#2563eb", INTENTS: "#d97706"}, "#d1d5db"


def write(result: dict[str, Any], page: Path, picture: Path) -> None:
    """Write both. The same figures always give the same files."""
    marked.put(page, SCRIPT, text(result))
    draw(result, picture)


def text(result: dict[str, Any]) -> str:
    machine = result["machine"]
    alone = "nothing else ran" if result["alone"] else "other programs ran too"
    return (
        f"{result['base_model']}; LoRA of rank {result['rank']}. {result['tested']} rows of each task that "
        f"no adapter has seen; {result['searched']} others of each to search on, {result['trials']} trials. "
        f"Plain transformers and PEFT in fp32, on {machine['threads']} threads of {machine['cpu']}; {alone}. "
        f"{result['date'][:10]}, commit {result['commit']}.\n\n"
        + markdown(HEADINGS, [cells(each) for each in result["models"]])
    )


def cells(model: dict[str, Any]) -> tuple[str, ...]:
    weights = ", ".join(f"{weight:g}" for weight in model["weights"]) or "–"
    scores = [f"{model[task][kind]:{form}}" for task in (SQL, INTENTS) for kind, form in KINDS]
    return (model["name"], weights, *scores, f"{mean_loss(model):.3f}")


KINDS = (("loss", ".3f"), ("exact", ".0%"))


def mean_loss(model: dict[str, Any]) -> float:
    return float(model[SQL]["loss"] + model[INTENTS]["loss"]) / 2


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw both losses of each model in a line of its own, the lowest mean above."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tunery"
    from matplotlib import pyplot

    models = sorted(result["models"], key=mean_loss, reverse=True)
    lines = range(len(models))
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.3 * len(models)), layout="constrained")
    for task, colour in COLOURS.items():
        losses = [model[task]["loss"] for model in models]
        axes.scatter(losses, lines, color=colour, s=36, zorder=2, label=f"loss on {task}")
    axes.hlines(
        lines,
        [min(model[SQL]["loss"], model[INTENTS]["loss"]) for model in models],
        [max(model[SQL]["loss"], model[INTENTS]["loss"]) for model in models],
        color=BETWEEN,
        zorder=1,
    )
    axes.set_yticks(lines, [model["name"] for model in models])
    axes.set_xscale("log")
    axes.set_xlabel("nats per token; the model with the lowest mean is above")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=len(COLOURS), frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
