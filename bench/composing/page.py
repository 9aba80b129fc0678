"""Writes the table and the picture of docs/composition.md from the results of `bench.composition`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.composing.rows import INTENTS, SQL
from bench.pages import marked
from bench.pages.tables import markdown

SCRIPT = "bench/composition.py"
HEADINGS = ("model", "weights", "SQL: loss", "exact", "intents: loss", "exact", "mean loss")
PARTS, COMPOSED, FOUND = "#9ca3af", "#2563eb", "#059669"


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
    """Draw the loss on one task against the loss on the other: the best adapters are below on the left."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tunery"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for model in result["models"]:
        at = model[SQL]["loss"], model[INTENTS]["loss"]
        axes.scatter(*at, color=colour(model), s=36)
        axes.annotate(model["name"], at, xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("loss on SQL, nats per token")
    axes.set_ylabel("loss on intents, nats per token")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def colour(model: dict[str, Any]) -> str:
    if not model["weights"]:
        return PARTS
    return FOUND if model["searched"] else COMPOSED
