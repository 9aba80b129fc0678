"""Looks at the queue and at Slurm, and submits or cancels what is missing or too much.

It remembers nothing. It may be stopped at any moment, and several of them may run.
"""

import signal
import threading
from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cli.client.errors import Unreachable
from cli.slurm import commands
from cli.slurm.demand import demand
from cli.slurm.fleets import Fleets
from cli.slurm.plan import Plan, plan
from core.errors import ConfigurationError

log = structlog.get_logger()


def look(engine: Engine, fleets: Fleets, project_jobs: int | None) -> Plan:
    """Look once, do what is planned, and return it.

    Raises Unreachable if Slurm does not answer or refuses something; the rest is done all the same. Raises
    ConfigurationError if squeue does not show what was submitted.
    """
    known = commands.known_jobs()
    with engine.connect() as connection:
        made = plan(fleets.workers, partial(demand, connection, project_jobs), known)
    for fleet, stuck in made.stuck.items():
        if stuck:
            told = [f"{job.name} ({job.number}): {job.state}, {job.reason}" for job in stuck]
            log.warning(
                "workers_stuck", fleet=fleet, slurm_jobs=told, next="read their output, or cancel them"
            )
    numbers, refusals = _submit(fleets, made)
    if numbers:
        _find_again(numbers)
    commands.cancel(made.cancellations)
    if made.cancellations:
        log.info("workers_cancelled", slurm_jobs=made.cancellations)
    if refusals:
        raise Unreachable("; ".join(refusals))
    return made


def _submit(fleets: Fleets, made: Plan) -> tuple[list[int], list[str]]:
    """Submit the planned workers. Return their numbers, and what Slurm says against them."""
    numbers: list[int] = []
    refusals: dict[str, str] = {}
    for submission in made.submissions:
        if submission.fleet in refusals:
            continue
        try:
            numbers.append(commands.submit(fleets, submission))
        except Unreachable as error:
            refusals[submission.fleet] = f"{submission.name}: {error}"
        else:
            log.info("worker_submitted", name=submission.name, wanted=made.wanted[submission.fleet])
    return numbers, list(refusals.values())


def _find_again(numbers: Sequence[int]) -> None:
    """Raise ConfigurationError if squeue does not show all of them.

    They would be submitted again at each look, without an end.
    """
    known = {job.number for job in commands.known_jobs()}
    if lost := [number for number in numbers if number not in known]:
        raise ConfigurationError(
            f"squeue does not show the Slurm jobs {lost}, which were just submitted: cancel them. Options of "
            "sbatch in the file of TUNERY_SLURM_FILE, in the script or in a plugin of Slurm may be the reason"
        )


def control(engine: Engine, fleets: Fleets, project_jobs: int | None, seconds: float) -> None:
    """Look again and again until SIGTERM or SIGINT. What fails is tried again.

    Raises ConfigurationError where trying again would not help.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    look_once = partial(look, engine, fleets, project_jobs)
    while True:
        try:
            look_once()
        except ConfigurationError:
            raise
        except (Unreachable, SQLAlchemyError) as error:
            log.warning("look_failed", error=str(error))
        except Exception as error:  # whatever Slurm answers, nobody would submit workers any more
            log.error("look_failed", error=str(error), exc_info=error)
        if stopping.wait(seconds):
            return
