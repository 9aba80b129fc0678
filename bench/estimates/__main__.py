"""Compare estimates of jobs with what the jobs take on this CPU: their memory and their tokens.

    python -m bench.estimates --models .tunery/models            # all jobs that have no result yet
    python -m bench.estimates --models .tunery/models --only dora

Each result is written when its job ends. The base models with random weights are written into a folder
(`--folder`) and take 4 GB there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import BENCH, ROOT
from bench.command_line import new_parser
from bench.estimates.cases import CASES, Case
from bench.estimates.measured import Found, expected, measure, write_random
from bench.pages.tables import markdown
from core.estimates.runtime import LIBRARY_BYTES

RESULTS = BENCH / "results/estimates"
KNOWN = RESULTS / "measured.json"
LIBRARIES = LIBRARY_BYTES["cpu"]  # the same for all jobs, so the ratio is shown without them, too


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--only", default="", help="the jobs whose descriptions contain this")
    parser.add_argument("--models", type=Path, required=True, help="the model store with SmolLM2")
    parser.add_argument("--folder", type=Path, default=ROOT / ".tunery/bench-estimates")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    known: dict[str, Found] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    for case in CASES:
        folder = given.folder / case.base.name
        if given.only in str(case) and str(case) not in known:
            write_random(case.base, folder)
            known[str(case)] = measure(case, folder, given.models)
            print(case, known[str(case)], flush=True)
            KNOWN.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    text = "\n".join(page(known, given.folder, given.models))
    (RESULTS / "page.md").write_text(text + "\n", "utf-8")


def page(known: Mapping[str, Found], folder: Path, models: Path) -> Iterator[str]:
    """Yield the lines of a page with all results."""
    yield "# Estimates of jobs and what they took\n\nMade by `python -m bench.estimates`.\n"
    rows, within, under, exact = [], 0, 0, 0
    for case in (case for case in CASES if str(case) in known):
        found = known[str(case)]
        bytes_, tokens = expected(case, folder / case.base.name, models)
        ratio = (bytes_ - LIBRARIES) / (found["bytes"] - LIBRARIES)
        within += abs(ratio - 1) <= 0.1
        under += ratio < 0.95
        exact += tokens == found["tokens"]
        rows.append(_cells(case, bytes_, found["bytes"], ratio))
    yield markdown(("job", "estimated", "process", "ratio", "without libraries"), rows)
    yield (
        f"Without libraries {within} of {len(rows)} are within 10 %, and {under} under by more than 5 %. "
        f"Tokens are exact in {exact}."
    )


def _cells(case: Case, estimated: int, measured: int, ratio: float) -> tuple[str, ...]:
    sizes = (f"{bytes_ / 1e9:.2f} GB" for bytes_ in (estimated, measured))
    return (str(case), *sizes, f"{estimated / measured:.3f}", f"{ratio:.3f}")


if __name__ == "__main__":
    main()
