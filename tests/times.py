"""Writes into docs/testing.md how long the tests took, and which take longest: `python -m tests.times`.

Both `make test` and `make test-exhaustive` leave a report in `build/`. The seconds of a folder are the sums
of its tests, while several processes run; the minutes are those of the whole run.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element, parse

from tests.fixtures.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "testing.md"
REPORTS = {"make test": "build/tests.xml", "make test-exhaustive": "build/exhaustive.xml"}
FOLDERS = (
    "tests/unit",
    "tests/integration/api",
    "tests/integration/core",
    "tests/integration/worker",
    "tests/integration/work",
    "tests/integration/cli",
    "tests/integration/jobs",
    "tests/integration/dashboard",
    "tests/faults",
    "tests/browser",
)
DEAREST = 8
BLOCK = re.compile(r"(?<=<!-- times -->\n).*?(?=<!-- end of times -->)", re.DOTALL)


def table(reports: dict[str, Path]) -> str:
    """Return the table of all folders: cases and seconds of each, by command."""
    suites = {command: _suite(path) for command, path in reports.items()}
    heads = [f"`{command}`" for command in suites]
    lines = [f"| folder | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(suites)}"]
    for folder in FOLDERS:
        cells = [_cell(suite, folder) for suite in suites.values()]
        lines.append(f"| `{folder}` | {' | '.join(cells)} |")
    whole = [f"{each.get('tests')} in {float(each.get('time', 0)) / 60:.0f} min" for each in suites.values()]
    return "\n".join(
        [*lines, f"| all | {' | '.join(whole)} |", "", *map(_dearest, suites, suites.values()), ""]
    )


def _dearest(command: str, suite: Element) -> str:
    """Return a line that names the files whose tests take longest."""
    seconds: Counter[str] = Counter()
    for case in suite.iter("testcase"):
        seconds[f"{case.get('classname', '').rpartition('.')[2]}.py"] += round(float(case.get("time", 0)))
    named = ", ".join(f"`{name}` {took} s" for name, took in seconds.most_common(DEAREST))
    return f"The dearest files of `{command}`: {named}.\n"


def _suite(path: Path) -> Element:
    found = parse(path).getroot().find("testsuite")  # noqa: S314
    if found is None:
        sys.exit(f"{path} holds no report of tests")
    return found


def _cell(suite: Element, folder: str) -> str:
    """Return how many cases of the folder ran, and the seconds that they took together."""
    counts: Counter[str] = Counter()
    for case in suite.iter("testcase"):
        if case.get("classname", "").replace(".", "/").startswith(f"{folder}/"):
            counts.update(cases=1)
            counts.update({"milliseconds": round(1000 * float(case.get("time", 0)))})
    return f"{counts['cases']}, {counts['milliseconds'] / 1000:.0f} s"


def main() -> None:
    """Write the table into the page."""
    page, count = BLOCK.subn(table({c: REPOSITORY / p for c, p in REPORTS.items()}), PAGE.read_text("utf-8"))
    if count != 1:
        sys.exit(f"{PAGE} has no place for the times")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
