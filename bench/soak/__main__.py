"""Train many jobs of several projects on the whole service, while everything is broken at random.

    python -m bench.soak                           # 500 jobs in two hours
    python -m bench.soak --seconds 900 --jobs 60 --seed 7

It runs servers and a `tunery up` of its own in a new folder. The seed decides the order of all faults and
their lengths. It is printed, and chosen at random if none is given. The exit code is 1 if a promise of
docs/reliability.md was broken. Then the folder with logs, database and store is kept.
"""

import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bench import ROOT
from bench.command_line import new_parser, positive
from bench.soak.plan import Plan
from bench.soak.soak import soak
from core.catalog import load_catalog


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--jobs", type=positive, default=500, help="jobs to create (default 500)")
    parser.add_argument("--seconds", type=float, default=7200, help="time of the faults (default 7200)")
    parser.add_argument("--seed", type=int, help="seed of all random choices (default: a new one)")
    parser.add_argument("--pace", type=float, default=1.0, help="factor of all faults' lengths (default 1)")
    parser.add_argument("--catalog", type=Path, help="base models of the jobs (default: SmolLM2)")
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    plan = Plan(
        seed=seed,
        seconds=given.seconds,
        jobs=given.jobs,
        models=[entry.id for entry in load_catalog(given.catalog)],
        catalog=given.catalog and given.catalog.resolve(),
        model_store=ROOT / ".tunery" / "models",
        pace=given.pace,
    )
    folder = Path(tempfile.mkdtemp(prefix="tunery-soak-"))
    began = time.monotonic()
    say(f"Seed {seed}, {plan.jobs} jobs, {plan.seconds:g} s, in {folder}", began)
    try:
        report = soak(plan, folder, say=lambda text: say(text, began))
    except BaseException:
        traceback.print_exc()
        sys.exit(f"The test itself broke off. Everything is kept in {folder}")
    if report.violations:
        report.folder = str(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if given.out:
        given.out.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    print(report.as_text())
    sys.exit(1 if report.violations else 0)


def say(text: str, began: float) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
