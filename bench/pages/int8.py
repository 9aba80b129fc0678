"""The section of docs/performance.md that compares products in 8 bits with exact ones."""

from __future__ import annotations

from typing import Any

from bench.pages.tables import markdown

HEAD = ("workload", "loss before", "exact", "int8", "loss, int8", "processor time, int8")


def section(document: dict[str, Any]) -> str:
    """Return the table of the losses and of the time."""
    return (
        f"SmolLM2-135M trains on {document['rows']} rows of each workload, once with exact products and once "
        'with `compute = "int8"`. Both take their steps in turns. The losses on held-out rows are those of '
        "plain PEFT in fp32, so they are computed with exact products. Other programs ran. "
        f"{document['machine']['cpu']}.\n\n"
        + markdown(HEAD, [line(*each) for each in document["workloads"].items()])
    )


def line(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a workload: losses in nats, and int8's loss and time compared with exact ones."""
    losses, seconds = found["losses"], found["cpu_seconds"]
    return (
        name,
        *(f"{loss:.4f}" for loss in (found["base_loss"], losses["exact"], losses["int8"])),
        f"{losses['int8'] / losses['exact'] - 1:+.2%}",
        f"{seconds['int8'] / seconds['exact']:.2f} times",
    )
