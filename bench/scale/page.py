"""Writes what was measured at scale as a table, and says what is over its aim."""

from __future__ import annotations

from typing import Any

from bench.pages.tables import markdown

REQUEST_AIM_MS, CLAIM_AIM_MS = 100.0, 20.0
CLAIM = "worker: a claim"


def is_over(name: str, figure: dict[str, float]) -> bool:
    """Whether a claim is slower than its aim at the 99th percentile, or anything else at the median."""
    if name == CLAIM:
        return figure["p99_ms"] > CLAIM_AIM_MS
    return figure["median_ms"] > REQUEST_AIM_MS


def section(document: dict[str, Any]) -> str:
    """Return a paragraph on what was measured where, and the table."""
    rows = document["rows"]
    figures = [
        (
            name,
            f"{figure['median_ms']:.1f}",
            f"{figure['p99_ms']:.1f}",
            str(figure["count"]),
            "over" if is_over(name, figure) else "",
        )
        for name, figure in document["figures"].items()
    ]
    return (
        f"{rows['jobs']:,} jobs, {rows['events']:,} events and {rows['adapters']:,} models of 200 projects, "
        f"{document['database_bytes'] / 1e9:.0f} GB. The project that asks has an eighth of them. Postgres "
        f"{document['postgres']} set up as by `tunery up`, one API process, and one client that sends "
        f"one request after the other share {document['cores']} cores of {document['cpu']} and "
        f"{document['memory_bytes'] / 2**30:.0f} GiB of memory. Other programs used the cores too: the "
        f"load average of the minute before was {document['load']:.1f}. Commit {document['commit']}, "
        f"{document['date'][:10]}.\n\nThe aims are {REQUEST_AIM_MS:.0f} ms at the median, and "
        f"{CLAIM_AIM_MS:.0f} ms at the 99th percentile for a claim. Times are milliseconds. "
        f"{document.get('notes', '')}".rstrip()
        + "\n\n"
        + markdown(("", "median", "p99", "measured", ""), figures)
    )


def page(document: dict[str, Any]) -> str:
    head = f"# At scale, {document['date'][:10]}\n\n<!-- Written by bench/scale/__main__.py. -->\n\n"
    return head + section(document)
