"""Compare estimates of jobs with what the jobs take on this CPU.

    python -m bench.estimates --models .tunery/models            # all jobs that have no result yet
    python -m bench.estimates --models .tunery/models --only DoRA
    python -m bench.estimates --models .tunery/models --long --again     # the times anew, on a quiet machine

Each result is written when its job ends. The random base models are written into a folder (`--folder`) and
take 4 GB there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.command_line import new_parser
from bench.estimates.cases import CASES, LONG
from bench.estimates.compared import page
from bench.estimates.measured import Found, measure, write_random

RESULTS = ROOT / "bench" / "results" / "estimates"
KNOWN = RESULTS / "measured.json"


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--only", default="", help="the jobs whose names contain this")
    parser.add_argument("--long", action="store_true", help="only the jobs that are long enough for times")
    parser.add_argument("--again", action="store_true", help="also the jobs that have a result")
    parser.add_argument("--models", type=Path, required=True, help="the model store with SmolLM2")
    parser.add_argument("--folder", type=Path, default=ROOT / ".tunery" / "bench-estimates")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    for case in LONG if given.long else (*CASES, *LONG):
        if given.only not in str(case) or (str(case) in known and not given.again):
            continue
        folder = given.folder / case.base.folder
        write_random(case.base, folder)
        known[str(case)] = _kept(measure(case, folder, given.models), case in LONG)
        print(case, {k: v for k, v in known[str(case)].items() if "seconds" not in k}, flush=True)
        KNOWN.write_text(json.dumps(known) + "\n", "utf-8")
    (RESULTS / "page.md").write_text("\n".join(page(known, given.folder, given.models)) + "\n", "utf-8")


def _kept(found: Found, is_long: bool) -> dict[str, Any]:
    """Return what is kept of a job. Times of few steps say little."""
    return asdict(found if is_long else replace(found, seconds=[], core_seconds=[]))


if __name__ == "__main__":
    main()
