"""Write docs/performance.md and its picture from the newest results; no figure is typed by hand.

python -m bench.performance                                # needs matplotlib: pip install -e '.[bench]'
python -m bench.performance --results DIR --docs DIR       # other folders
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import BENCH, ROOT, page
from bench.command_line import new_parser
from bench.pages import fast_path, int8
from bench.pages.tables import markdown
from bench.scale.page import section
from bench.training.running import say
from bench.web import api, streams

PICTURE = "performance.svg"
HEAD = """# Performance

<!-- Written by bench/performance.py from bench/results; run it again instead of editing. -->

`make bench` measures the first part, `python -m bench.engine.scaling` the second,
`python -m bench.engine.fast_path` the third, `python -m bench.engine.int8` the fourth, and
`python -m bench.web.api`, `python -m bench.web.streams` and `python -m bench.scale` the last ones.
[Benchmark](how-to/benchmark.md) says how to run them.
"""
SCALING_NOTES = """\
Each row of the tables is measured in a process of its own. The figures are medians over the rounds after the
first one. In a round, each job of a cohort takes one step.
"""


def performance_page(
    day: page.Day,
    scaling: dict[str, Any],
    of_api: dict[str, Any] | None = None,
    of_streams: dict[str, Any] | None = None,
    at_scale: dict[str, Any] | None = None,
    of_fast_path: dict[str, Any] | None = None,
    of_int8: dict[str, Any] | None = None,
) -> str:
    """Return the whole page. Each of its parts may be empty."""
    parts = [HEAD]
    if day:
        parts += [f"\n## Beside other trainers: {name}\n\n{page.section_text(day[name])}" for name in day]
        parts.append(f"\n### What the columns mean\n\n{page.NOTES}")
    if scaling:
        parts.append(scaling_text(scaling))
    if of_fast_path:
        parts.append(f"\n## The fast path beside transformers' modules\n\n{fast_path.section(of_fast_path)}")
    if of_int8:
        parts.append(f"\n## Products in 8 bits\n\n{int8.section(of_int8)}")
    if of_api:
        parts.append(f"\n## The API\n\n{api.section(of_api)}")
    if of_streams:
        parts.append(f"\n## Silent streams\n\n{streams.section(of_streams)}")
    if at_scale:
        parts.append(f"\n## At a million jobs\n\n{section(at_scale)}")
    return "".join(parts)


def scaling_text(scaling: dict[str, Any]) -> str:
    machine = scaling["machine"]
    where = (
        machine["gpu"] or f"{machine['threads']} threads of {machine['cpu']} ({', '.join(machine['isa'])})"
    )
    packages = ", ".join(f"{name} {number}" for name, number in scaling["versions"].items())
    cohorts, lengths = scaling["cohorts"], scaling["lengths"]
    return (
        "\n## Larger cohorts and longer rows\n\n"
        f"{scaling['base_model']}, LoRA of rank {scaling['settings']['rank']} on all linear layers, at most "
        f"{scaling['settings']['max_step_tokens']} tokens computed at once. {where}; {packages}. Commit "
        f"{scaling['commit'] or 'unknown'}, {scaling['date'][:10]}.\n{SCALING_NOTES}\n"
        f"![Tokens per second by jobs in the cohort and by tokens in a row]({PICTURE})\n\n"
        f"{cohort_text(cohorts)}\n{length_text(lengths)}"
    )


def cohort_text(points: Sequence[dict[str, Any]]) -> str:
    if not points:
        return ""
    alone = points[0]["tokens_per_second"] if points[0]["jobs"] == 1 else None
    rows = [
        (
            str(point["jobs"]),
            f"{point['tokens_per_second']:.0f}",
            f"{point['tokens_per_second_per_job']:.0f}",
            f"{point['tokens_per_second'] / alone:.2f}" if alone else "–",
            f"{point['seconds_per_round']:.2f}",
            f"{point['peak_rss_bytes'] / 1e9:.1f}",
        )
        for point in points
    ]
    headings = ("jobs", "tokens/s in all", "per job", "× one job", "s per round", "peak memory, GB")
    first = points[0]
    return (
        f"Jobs that train together; each has {first['batch_size']} rows of {first['row_tokens']} tokens in a "
        "round:\n\n" + markdown(headings, rows)
    )


def length_text(points: Sequence[dict[str, Any]]) -> str:
    if not points:
        return ""
    rows = [
        (
            f"{point['row_tokens']:,}",
            str(point["batch_size"]),
            f"{point['tokens_per_second']:.0f}",
            f"{point['seconds_per_round']:.2f}",
            f"{point['peak_rss_bytes'] / 1e9:.1f}",
        )
        for point in points
    ]
    headings = ("tokens in a row", "rows a step", "tokens/s", "s per step", "peak memory, GB")
    return "One job with longer and longer rows; each step holds the same number of tokens:\n\n" + markdown(
        headings, rows
    )


def draw(scaling: dict[str, Any], path: Path) -> None:
    """Draw two graphs side by side, as an SVG. The same figures always give the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tunery"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    cohorts, lengths = scaling["cohorts"], scaling["lengths"]
    jobs = [point["jobs"] for point in cohorts]
    left.plot(jobs, [point["tokens_per_second"] for point in cohorts], "o-", label="in all")
    left.plot(jobs, [point["tokens_per_second_per_job"] for point in cohorts], "s--", label="per job")
    left.legend(frameon=False)
    tokens = [point["row_tokens"] for point in lengths]
    right.plot(tokens, [point["tokens_per_second"] for point in lengths], "o-")
    for axes, values, label in ((left, jobs, "jobs in the cohort"), (right, tokens, "tokens in a row")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.set_xlabel(label)
        axes.set_ylabel("tokens per second")
        axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def newest(results: Path, pattern: str) -> dict[str, Any]:
    """Return the contents of the file with the latest date in its name, or nothing if there is no file."""
    found = sorted(results.glob(pattern))
    return dict(json.loads(found[-1].read_text())) if found else {}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder of the results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder to write to")
    given = parser.parse_args()
    day = newest(given.results, "????-??-??.json")
    scaling = newest(given.results, "????-??-??-scaling.json")
    of_api = newest(given.results, "api-????-??-??.json")
    of_streams = newest(given.results, "streams-????-??-??.json")
    at_scale = newest(given.results, "at-scale-*.json")
    of_fast_path = newest(given.results, "fast-path-????-??-??.json")
    of_int8 = newest(given.results, "int8-????-??-??.json")
    text = performance_page(day, scaling, of_api, of_streams, at_scale, of_fast_path, of_int8)
    (given.docs / "performance.md").write_text(text)
    if scaling:
        draw(scaling, given.docs / PICTURE)
    say(f"Written to {given.docs / 'performance.md'}")


if __name__ == "__main__":
    main()
