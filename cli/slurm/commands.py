"""Slurm's own commands. They read its configuration, and authenticate themselves, as those of a user do."""

import os
import subprocess
from collections.abc import Iterable, Sequence

from cli.client.errors import Unreachable
from cli.slurm.fleets import Fleets
from cli.slurm.plan import PREFIX, SlurmJob, Submission
from cli.slurm.refused import VARIABLES
from core.errors import ConfigurationError

SECONDS = 60  # for one command; Slurm's own limit of a message is 10 s, and some are tried again


def known_jobs() -> list[SlurmJob]:
    """Return the jobs of this user that Slurm knows and `tunery slurm` has submitted, also ended ones.

    Slurm forgets an ended job after MinJobAge. Raises Unreachable.
    """
    lines = _run("squeue", "--me", "--all", "--states=all", "--noheader", "--format=%i|%T|%r|%j").splitlines()
    return [job for line in lines if (job := read_job(line)) is not None]


def read_job(line: str) -> SlurmJob | None:
    """Return the job of a line of squeue, or None if `tunery slurm` has not submitted it."""
    number, state, reason, name = (*line.strip().split("|", 3), "", "", "")[:4]
    if not name.startswith(PREFIX) or not number.isdecimal():  # parts of an array have other numbers
        return None
    return SlurmJob(int(number), name, state, reason)


def submit(fleets: Fleets, submission: Submission) -> int:
    """Submit one worker, and return its number. Raises Unreachable.

    Two jobs of one name never run at the same time, whoever submits them. None of our own variables
    reaches the job, since Slurm keeps the environment of a job in files.
    """
    fleet = fleets.workers[submission.fleet]
    settings = [f"TUNERY_DEVICES={fleet.devices}"]
    if submission.ends_when_idle:
        settings.append(f"TUNERY_IDLE_SECONDS={fleet.idle_seconds}")
    answer = _run(
        "sbatch",
        "--parsable",
        *fleet.sbatch,
        f"--nodes={fleet.nodes}",
        f"--job-name={submission.name}",
        "--dependency=singleton",
        "--export=NIL",
        str(fleets.script),
        str(fleets.environment),
        *settings,
    )
    number = answer.strip().partition(";")[0]
    if not number.isdecimal():
        raise Unreachable(f"sbatch answered {_last_line(answer)!r}, which is no number")
    return int(number)


def cancel(numbers: Iterable[int]) -> None:
    """Cancel the jobs that still wait. Slurm itself looks whether they do. Raises Unreachable."""
    if waiting := [str(number) for number in numbers]:
        _run("scancel", "--ctld", "--state=PENDING", *waiting)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, env=_environment()
        )
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no {command[0]} here: install Slurm's commands") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} did not answer within {SECONDS} s") from error
    except OSError as error:
        raise Unreachable(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise Unreachable(f"{command[0]} failed: {_last_line(done.stderr) or f'exit {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Return our environment without the variables that stand for options that fleets may not have."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else ""
