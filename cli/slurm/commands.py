"""Slurm's own commands. They read its configuration, and authenticate themselves, as those of a user do."""

import subprocess
from collections.abc import Iterable, Sequence

from cli.client.errors import Unreachable
from cli.slurm.fleets import Fleets
from cli.slurm.plan import PREFIX, SlurmJob, Submission
from core.errors import ConfigurationError

SECONDS = 60  # for one command; Slurm's own limit of a message is 10 s, and some are tried again


def known_jobs() -> list[SlurmJob]:
    """Return the jobs of this user that Slurm knows and `tunery slurm` has submitted, also ended ones.

    Slurm forgets an ended job after MinJobAge. Raises Unreachable.
    """
    lines = _run("squeue", "--me", "--all", "--states=all", "--noheader", "--format=%i|%T|%r|%j").splitlines()
    fields = (line.strip().split("|", 3) for line in lines if line.strip())
    return [
        SlurmJob(int(number), name, state, reason)
        for number, state, reason, name in fields
        if name.startswith(PREFIX) and number.isdecimal()  # those of an array were not submitted here
    ]


def submit(fleets: Fleets, submission: Submission) -> None:
    """Submit one worker. Raises Unreachable.

    Two jobs of one name never run at the same time, whoever submits them. None of our own variables
    reaches the job, since Slurm keeps the environment of a job in files.
    """
    fleet = fleets.workers[submission.fleet]
    settings = [f"TUNERY_DEVICES={fleet.devices}"]
    if submission.ends_when_idle:
        settings.append(f"TUNERY_IDLE_SECONDS={fleet.idle_seconds}")
    _run(
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


def cancel(numbers: Iterable[int]) -> None:
    """Cancel the jobs that still wait. Slurm itself looks whether they do. Raises Unreachable."""
    if wanted := [str(number) for number in numbers]:
        _run("scancel", "--ctld", "--state=PENDING", *wanted)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no {command[0]} here: install Slurm's commands") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} did not answer within {SECONDS} s") from error
    if done.returncode:
        raise Unreachable(f"{command[0]} failed: {_last_line(done.stderr) or f'exit {done.returncode}'}")
    return done.stdout


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else ""
