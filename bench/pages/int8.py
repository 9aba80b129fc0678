"""The section of docs/performance.md that compares products in 8 bits with exact ones."""

from __future__ import annotations

from typing import Any

from bench.pages.tables import markdown

HEAD = (
    "workload",
    "loss before",
    "exact",
    "int8",
    "held",
    "loss, int8",
    "held",
    "processor time, int8",
    "held",
)


def section(document: dict[str, Any]) -> str:
    """Return the table of the losses and of the time."""
    size = {name: f"{count / 1e6:.0f} MB" for name, count in document["weight_bytes"].items()}
    return (
        f"SmolLM2-135M trains on {document['rows']} rows of each workload: with exact products, with "
        '`compute = "int8"`, and with weights that are held in 8 bits (`quantization = "int8"`). All take '
        "their steps in turns. The losses on held-out rows are those of plain PEFT in fp32, so they are "
        f"computed with exact products. The weights of the layers take {size['exact']}, {size['int8']} and "
        f"{size['held']}. "
        f"Other programs ran. {document['machine']['cpu']}.\n\n"
        + markdown(HEAD, [line(*each) for each in document["workloads"].items()])
    )


def line(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a workload: losses in nats, and those and the times of 8 bits beside exact ones."""
    losses, seconds = found["losses"], found["cpu_seconds"]
    rounded = ("int8", "held")
    return (
        name,
        *(
            f"{loss:.4f}"
            for loss in (found["base_loss"], losses["exact"], *(losses[each] for each in rounded))
        ),
        *(f"{losses[each] / losses['exact'] - 1:+.2%}" for each in rounded),
        *(f"{seconds[each] / seconds['exact']:.2f} times" for each in rounded),
    )
