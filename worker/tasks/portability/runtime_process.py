"""Runs another runtime in a process of its own: it has its own libraries, and may die of what it loads."""

import json
import re
import signal
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.process.without_secrets import run_without_secrets
from worker.tasks.portability.answers import NEW_TOKENS, TOP, Answer, Answered
from worker.tasks.portability.prompts import PromptSet

PROGRAMS = Path(__file__).parent / "programs"
MOST_SECONDS = 1800.0
SHOWN = 300  # characters of a reason
ERROR = re.compile(r"\berror loading\b")  # as llama.cpp begins its reasons


@dataclass(frozen=True)
class Candidate:
    """One form of an adapter on the disk: a model, and an adapter of `rank` beside it if there is one."""

    model: Path
    adapter: Path | None = None
    rank: int = 0


@dataclass(frozen=True)
class Failure:
    """Why a runtime does not load a form."""

    reason: str


@dataclass(frozen=True)
class Interrupted:
    """Why a runtime did not come to an end. This machine was too slow or too small, so it says nothing of the
    form.
    """

    reason: str


@dataclass(frozen=True)
class Outcome:
    """What a runtime of this version makes of a candidate. It has no version if it did not start."""

    version: str | None
    found: Answered | Failure | Interrupted


def run_program(
    python: Path,
    program: str,
    candidate: Candidate,
    prompts: PromptSet,
    ends: Collection[int],
    folder: Path,
    environment: Mapping[str, str],
) -> Outcome:
    """Give the candidate to the program in PROGRAMS, and return what it has written.

    The process ends with this one: its standard input closes then.
    """
    asked, told, log = folder / "asked.json", folder / "told.json", folder / "log.txt"
    asked.write_text(json.dumps(_asked(candidate, prompts), default=str))
    told.unlink(missing_ok=True)
    command = [str(python), str(PROGRAMS / program), str(asked), str(told)]
    with log.open("wb") as out:
        try:
            status = run_without_secrets(command, environment, MOST_SECONDS, out, folder)
        except subprocess.TimeoutExpired:
            return Outcome(None, Interrupted(f"It took longer than {MOST_SECONDS:.0f} s."))
    if status == -signal.SIGKILL:
        return Outcome(None, Interrupted("Its process was killed, as by a machine whose memory runs out."))
    if not told.exists():
        by = f"by signal {-status}" if status < 0 else f"with status {status}"
        return Outcome(None, Failure(_explained(f"Its process ended {by}.", log)))
    stored = json.loads(told.read_text())
    return Outcome(stored["version"], _found(stored, prompts, ends, log))


def _asked(candidate: Candidate, prompts: PromptSet) -> dict[str, Any]:
    longest = max(map(len, prompts.tokens)) + NEW_TOKENS + 1
    return {
        **asdict(candidate),
        "prompts": prompts.tokens,
        "chats": prompts.chats,
        "new_tokens": NEW_TOKENS,
        "top": TOP,
        "length": longest,
    }


def _found(
    stored: dict[str, Any], prompts: PromptSet, ends: Collection[int], log: Path
) -> Answered | Failure:
    if (error := stored.get("error")) is not None:
        return Failure(_explained(error, log))
    answers = [Answer.read(each, ends) for each in stored["answers"]]
    return Answered(answers, stored["chats"] if prompts.chats is not None else None)


def _explained(reason: str, log: Path) -> str:
    """Return the reason with the last error that the runtime has logged, or with its last words."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.search(line)]
    return " ".join(filter(None, (shortened(reason), shortened((errors or lines or [""])[-1]))))


def shortened(text: str) -> str:
    """Return the first line, without the paths of this machine."""
    first = (text.strip().splitlines() or [""])[0]
    words = [word if not word.strip("'\"`:,.()").startswith("/") else "…" for word in first.split()]
    joined = " ".join(words)
    return joined if len(joined) <= SHOWN else f"{joined[:SHOWN]} …"
