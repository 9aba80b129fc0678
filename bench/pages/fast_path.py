"""The section of docs/performance.md that compares the fast path with the portable one."""

from __future__ import annotations

from typing import Any

from bench.pages.tables import markdown

HEAD = ("", "tokens/s, fast", "portable", "ratio", "memory, MiB, fast", "portable", "ratio")


def section(document: dict[str, Any]) -> str:
    """Return the table of the figures."""
    rows = [
        (
            case,
            *(f"{found[path]['tokens_per_cpu_second']:.0f}" for path in ("fast", "portable")),
            f"{found['ratio_of_tokens_per_cpu_second']:.2f}",
            *(f"{found[path]['peak_mib']:,.0f}" for path in ("fast", "portable")),
            f"{found['ratio_of_peak_mib']:.2f}",
        )
        for case, found in document["cases"].items()
    ]
    return (
        "What each base model would train at on the path of transformers' modules, and what it trains at. "
        "Tokens over a second of processor time, and the largest memory of the process. Other programs ran. "
        f"{document['machine']['cpu']}, commit {document['commit'][:12]}.\n\n" + markdown(HEAD, rows)
    )
