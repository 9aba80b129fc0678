"""Writes the table of all methods in docs/methods.md, from one result file for each run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from bench.jobs.cases import cases
from bench.jobs.run import Result, describe_runs, describe_training, failures, read_results
from bench.pages import marked
from bench.pages.tables import NOTHING, failed_row, markdown, shown

SCRIPT = "bench/jobs/methods.py"
BYTES = "bytes.json"  # written by bench/engine/base_bytes.py, which counts these parts:
EMBEDDING, LINEAR, OTHER = "embedding and head", "linear layers", "norms and buffers"
HEADINGS = (
    *("method", "learning rate", "first loss", "last loss", "validation loss", "in PEFT", "exact answers"),
    *("trained parameters", "weights, kB", "peak memory, GB", "tokens/s"),
)
NOTES = """\
- Each method has its defaults and its usual learning rate. C3A needs a `block_size` of 64 on this base model.
  "Trainable tokens" trains the two markers of the chat template.
- first loss, last loss: the mean training loss of the first quarter and of the last quarter of the steps, in
  nats per answer token.
- validation loss: the job computes it after its last step. "In PEFT" is the validation loss of the published
  files, which plain transformers and PEFT load in a new process, in the same precision.
  On an int8 base, bitsandbytes rounds the activations there. The trainer does not round them.
- AdaLoRA's singular values start at 0, between small vectors. It needs more steps than these to learn.
- exact answers: greedy answers to rows held out that equal the expected answer letter by letter.
- trained parameters: as PEFT counts them in the published adapter.
- weights: the published safetensors, in 10³ bytes.
- peak memory: the trainer's largest resident set, with base model and libraries, in 10⁹ bytes.
- tokens/s: the tokens in the rows per second, without padding; the median of the steps after the first.
"""
SHARED = """\
\\* Measured on a shared machine: other programs ran meanwhile. They make the tokens per second several times
lower, and change nothing else in the table.
"""


def write(results: Path, page: Path) -> None:
    """Write the results of the folder into the page, and name the methods that have no result yet."""
    found = read_results(results, [case.name for case in cases()])
    parts = [text(found)] if found else []
    measured = {result["name"] for result in found}
    if missing := [case.title for case in cases() if case.name not in measured]:
        parts.append(f"Not measured yet: {', '.join(missing)}.\n")
    resident = results / BYTES
    if resident.exists():
        parts.append(bytes_text(json.loads(resident.read_text())["bytes"]))
    marked.put(page, SCRIPT, "\n".join(parts))


def text(results: Sequence[Result]) -> str:
    sizes = {f"{describe_training(each)}; {each['validation_rows']} rows held out" for each in results}
    head = f"{results[0]['base_model']}; {' or '.join(sorted(sizes))}. {describe_runs(results)}\n"
    others = other_machines(results)
    rows = [cells(result, others.get(result["machine"]["cpu"], "")) for result in results]
    parts = [head, markdown(HEADINGS, rows), failures(results), NOTES]
    if any(is_marked(result) for result in results):
        parts.append(SHARED)
    parts += [
        f"{mark} Measured on {cpu}: compare speeds only between rows of the same machine.\n"
        for cpu, mark in others.items()
    ]
    return "\n".join(part for part in parts if part)


def other_machines(results: Sequence[Result]) -> dict[str, str]:
    """Return a mark for each processor, except the one on which most speeds were measured."""
    processors = Counter(result["machine"]["cpu"] for result in results if "tokens_per_second" in result)
    return dict(zip([cpu for cpu, _ in processors.most_common()][1:], "†‡§", strict=False))


def cells(result: Result, machine_mark: str) -> tuple[str, ...]:
    speed = shown(result.get("tokens_per_second"), ".0f")
    if "failure" in result:
        return failed_row(result["title"], len(HEADINGS))
    first, last = quarters(result["losses"]) if "losses" in result else (None, None)
    return (
        result["title"],
        shown(result.get("learning_rate"), "g"),
        shown(first, ".3f"),
        shown(last, ".3f"),
        shown(result.get("validation_loss"), ".4f"),
        shown(result["loss"], ".4f"),
        f"{result['exact']} of {result['prompts']}",
        shown(result["trained_parameters"] or None, ","),
        shown(scaled(result, "artifact_bytes", 1e3), ",.0f"),
        shown(scaled(result, "peak_rss_bytes", 1e9), ".2f"),
        speed + (machine_mark if speed != NOTHING else "") + ("*" if is_marked(result) else ""),
    )


def quarters(losses: Sequence[float]) -> tuple[float, float]:
    """Return the means of the first and of the last quarter of the losses."""
    n = max(1, len(losses) // 4)
    return mean(losses[:n]), mean(losses[-n:])


def scaled(result: Result, name: str, unit: float) -> float | None:
    value = result.get(name)
    return None if value is None else value / unit


def is_marked(result: Result) -> bool:
    """Return whether the result has a speed that other programs may have lowered."""
    return not result["alone"] and "tokens_per_second" in result


def bytes_text(found: dict[str, dict[str, Any]]) -> str:
    """Return a table of the bytes of the loaded base model, by precision and by part."""
    whole = sum(found["bf16"].values())
    parts = list(found["bf16"])
    rows = [
        (
            precision,
            *(f"{each[part] / 1e6:.1f}" for part in parts),
            f"{sum(each.values()) / 1e6:.1f}",
            f"{sum(each.values()) / whole:.1%}",
        )
        for precision, each in found.items()
    ]
    headings = ("base model in", *(f"{part}, MB" for part in parts), "together, MB", "of bf16")
    linear = found["nf4"][LINEAR] / found["bf16"][LINEAR]
    share = found["nf4"][EMBEDDING] / sum(found["nf4"].values())
    return (
        "Memory of the base model, without adapters and libraries, in 10⁶ bytes:\n\n"
        f"{markdown(headings, rows)}\n"
        f"In nf4 the linear layers take {linear:.0%} of their memory in bf16. The embedding, which is also\n"
        f"the head, is held in 8 bits. In this small model it is {share:.0%} of all bytes in nf4.\n"
    )
