"""Runs another runtime in a process of its own: it has its own libraries, and may die of what it loads."""

import json
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.portability.answers import NEW_TOKENS, TOP, Answer, Answered
from worker.portability.prompts import PromptSet

PROGRAMS = Path(__file__).parent / "programs"
MOST_SECONDS = 1800.0
SHOWN = 300  # characters of a reason


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
class Outcome:
    """What a runtime of this version makes of each candidate."""

    version: str | None
    results: list[Answered | Failure]


def run_program(
    python: Path,
    program: str,
    candidates: Sequence[Candidate],
    prompts: PromptSet,
    ends: Collection[int],
    folder: Path,
    environment: Mapping[str, str],
) -> Outcome:
    """Give the candidates to the program in PROGRAMS, and return what it has written.

    The process ends with this one: its standard input closes then.
    """
    asked, told, log = folder / "asked.json", folder / "told.json", folder / "log.txt"
    asked.write_text(json.dumps(_asked(candidates, prompts), default=str))
    told.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python), str(PROGRAMS / program), str(asked), str(told)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            cwd=folder,
            env={**os.environ, **environment},
        )
        try:
            status = process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            return _failed(candidates, f"It took longer than {MOST_SECONDS:.0f} s.")
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if not told.exists():
        return _failed(candidates, _last_words(status, log))
    found = json.loads(told.read_text())
    results = [_result(each, prompts, ends) for each in found["results"]]
    missing = len(candidates) - len(results)  # it died of the next one
    results += [Failure(_last_words(status, log))] * missing
    return Outcome(found["version"], results)


def _asked(candidates: Sequence[Candidate], prompts: PromptSet) -> dict[str, Any]:
    longest = max(map(len, prompts.tokens)) + NEW_TOKENS + 1
    return {
        "candidates": [asdict(each) for each in candidates],
        "prompts": prompts.tokens,
        "chats": prompts.chats,
        "new_tokens": NEW_TOKENS,
        "top": TOP,
        "length": longest,
    }


def _result(stored: dict[str, Any], prompts: PromptSet, ends: Collection[int]) -> Answered | Failure:
    if (error := stored.get("error")) is not None:
        return Failure(shortened(error))
    answers = [Answer.read(each, ends) for each in stored["answers"]]
    return Answered(answers, stored["chats"] if prompts.chats is not None else None)


def _failed(candidates: Sequence[Candidate], reason: str) -> Outcome:
    return Outcome(None, [Failure(reason) for _ in candidates])


def _last_words(status: int, log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    by = f"by signal {-status}" if status < 0 else f"with status {status}"
    return shortened(f"Its process ended {by}. {lines[-1] if lines else ''}".strip())


def shortened(reason: str) -> str:
    """Return the first line of a reason, without the paths of this machine."""
    first = (reason.strip().splitlines() or [""])[0]
    words = [word if not word.strip("'\"`:,.()").startswith("/") else "…" for word in first.split()]
    text = " ".join(words)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
