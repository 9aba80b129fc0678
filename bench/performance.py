"""Write the tables of docs/performance.md from the newest results; no figure is typed by hand.

python -m bench.performance
"""

from __future__ import annotations

import json
from typing import Any

from bench import BENCH, ROOT, page
from bench.command_line import new_parser
from bench.pages import marked
from bench.scale import page as scale
from bench.web import api


def tables(day: page.Day, of_api: dict[str, Any], at_scale: dict[str, Any]) -> str:
    """Return the tables of the trainers, of the API, and of the API at a million jobs."""
    parts = [f"## Beside other trainers: {name}\n\n{page.section_text(day[name])}" for name in day]
    parts += [
        f"### What the columns mean\n\n{page.NOTES}",
        f"## The API\n\n{api.section(of_api)}",
        f"## At a million jobs\n\n{scale.section(at_scale)}",
    ]
    return "\n".join(parts)


def newest(pattern: str) -> dict[str, Any]:
    """Return the contents of the result file with the latest date in its name."""
    return dict(json.loads(max((BENCH / "results").glob(pattern)).read_text()))


def main() -> None:
    new_parser(__doc__).parse_args()
    text = tables(
        newest("????-??-??.json"), newest("api-????-??-??.json"), newest("at-scale-????-??-??.json")
    )
    marked.put(ROOT / "docs/performance.md", "bench/performance.py", text)


if __name__ == "__main__":
    main()
