"""Check this machine's device in about ten minutes, and write one page about it.

    make gpu                                       # all checks
    make gpu ARGS="--only memory,training"         # some of them
    make gpu ARGS="--out DIR"                      # another folder for the page and the logs

The checks: the device computes; kernels agree with their plain twins, and how fast they are; a step of a
model with random weights takes the memory that the plan says; our trainer beside TRL, transformers' Trainer
and Unsloth; sixteen jobs at once; chats, beside vLLM if its environment is there; a job whose trainer is
killed. Without a GPU, the same checks run on the CPU with fewer rows.
The first run installs the environments of the other trainers: some GB, and some minutes more.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from bench import BENCH
from bench.acceptance.checks import ON_CPU, ON_GPU, Check, Found, checks
from bench.command_line import add_models, names_in, new_parser
from bench.pages.tables import markdown
from bench.peers.venvs import DEFAULT_VENVS, HAS_GPU
from bench.training.preparation import commit
from bench.training.running import RunFailed, reason_of, run_logged, say

LIMIT_SECONDS = 1800.0  # for one check
NAMES = [check.name for check in checks(ON_CPU, Path(), Path())]


@dataclass(frozen=True)
class Result:
    """A check that has run: what it found, or why there is nothing."""

    name: str
    seconds: float
    found: Found | None = None
    reason: str = ""

    @property
    def outcome(self) -> str:
        if self.reason or self.found is None:
            return "failed"
        return "passed" if self.found.passes else "out of bounds"


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    on_gpu = torch.cuda.is_available()
    if HAS_GPU and not on_gpu:
        sys.exit(
            f"nvidia-smi is there, but torch {torch.__version__} computes on no GPU: `tunery doctor` says why"
        )
    chosen = checks(ON_GPU if on_gpu else ON_CPU, given.models.absolute(), given.venvs.absolute())
    results = []
    for check in chosen:
        if check.name in given.only and (on_gpu or not check.only_on_a_gpu):
            results.append(run(check, given.out))
            say(f"{check.name}: {results[-1].outcome} {results[-1].reason}")
    if not results:
        sys.exit(f"{', '.join(given.only)}: only a GPU can be checked so, and there is none")
    path = given.out / "page.md"
    path.write_text(text_of(results, torch.cuda.get_device_name() if on_gpu else "a CPU", given.out))
    say(f"\n{path.read_text()}\nWritten to {path}")
    sys.exit(any(result.outcome != "passed" for result in results))


def run(check: Check, folder: Path) -> Result:
    """Run a check in a process of its own. Its output goes to a log beside the page."""
    say(f"{check.name} …")
    name = check.name.replace(" ", "-")
    out, log = (folder / name).absolute(), folder / f"{name}.log"
    remove(out)  # the results of an earlier run
    began = time.monotonic()
    try:
        code = run_logged([sys.executable, *check.words(out)], dict(check.environment), log, LIMIT_SECONDS)
        found = check.read(out) if out.exists() else None
    except (RunFailed, ValueError, KeyError) as failure:
        return Result(check.name, time.monotonic() - began, reason=str(failure))
    reason = reason_of(code, log.read_text(errors="replace")) if code or found is None else ""
    return Result(check.name, time.monotonic() - began, found, reason)


def remove(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)


def text_of(results: Sequence[Result], device: str, folder: Path) -> str:
    lines = [(each.name, each.outcome, f"{each.seconds:.0f}") for each in results]
    table = markdown(("check", "outcome", "seconds"), lines)
    sections = "\n".join(section(each) for each in results)
    asked = f"\nPlease open an issue with this page and the logs in `{folder}`: they say what we need.\n"
    bad = any(each.outcome != "passed" for each in results)
    title = f"# {device}, commit {commit()}, {datetime.now():%Y-%m-%d}"
    return f"{title}\n\n{table}{asked if bad else ''}\n{sections}"


def section(result: Result) -> str:
    why = f"{result.reason}\n\n" if result.reason else ""
    return f"## {result.name}: {result.outcome}\n\n{why}{result.found.text if result.found else ''}\n"


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument(
        "--venvs", type=Path, default=DEFAULT_VENVS, help="environments of the other trainers"
    )
    parser.add_argument(
        "--only", type=lambda text: names_in(text, NAMES), default=NAMES, help=f"of {','.join(NAMES)}"
    )
    default = BENCH / "results" / f"acceptance-{datetime.now():%Y-%m-%d}"
    parser.add_argument("--out", type=Path, default=default, help=f"folder of the page (default {default})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
