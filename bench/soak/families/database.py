"""Postgres dies, is restarted, is cut off, or is slow."""

from bench.soak.families import lines
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service

FAMILY = "Postgres"
BETWEEN_RESTARTS = 5.0, 40.0  # seconds


@fault(FAMILY, "it is killed")
def kill(service: Service, dice: Dice) -> None:
    service.servers.kill("postgres")
    dice.wait(0.0, 8.0)
    service.servers.restart("postgres")


@fault(FAMILY, "it is restarted in order")
def restart(service: Service, _dice: Dice) -> None:
    service.servers.restart("postgres")


@fault(FAMILY, "its line is reset")
def reset(service: Service, dice: Dice) -> None:
    lines.reset(service.database_line, dice)


@fault(FAMILY, "its answers are lost")
def lose_answers(service: Service, dice: Dice) -> None:
    lines.lose_answers(service.database_line, dice, share=0.03)


@fault(FAMILY, "its line is slow")
def delay(service: Service, dice: Dice) -> None:
    lines.delay(service.database_line, dice)


@fault(FAMILY, "its line falls silent")
def silence(service: Service, dice: Dice) -> None:
    lines.silence(service.database_line, dice)


def restart_again_and_again(service: Service, dice: Dice) -> tuple[int, int]:
    """Kill it or restart it in order, again and again, until the test is over. Returns both counts."""
    killed = restarted = 0
    while not dice.over.is_set():
        if dice.random.random() < 0.5:
            service.servers.kill("postgres")
            killed += 1
        else:
            restarted += 1
        service.servers.restart("postgres")
        dice.wait(*BETWEEN_RESTARTS)
    return killed, restarted
