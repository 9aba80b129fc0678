"""What can happen to a line between the service and one of its servers."""

from bench.soak.plan import Dice
from faults.relay import Relay

SHORT = 0.5, 8.0  # seconds
LONG = 3.0, 15.0


def reset(line: Relay, dice: Dice) -> None:
    """Reset the line several times."""
    for _ in range(dice.random.randint(1, 5)):
        line.reset()
        dice.wait(0.1, 2.0)


def half_close(line: Relay, dice: Dice) -> None:
    """End the line in the direction of the service several times."""
    for _ in range(dice.random.randint(1, 3)):
        line.half_close()
        dice.wait(0.5, 3.0)


def delay(line: Relay, dice: Dice) -> None:
    """Let everything on the line come late."""
    line.delay = dice.random.uniform(0.02, 0.4)
    try:
        dice.wait(*SHORT)
    finally:
        line.delay = 0.0


def lose_answers(line: Relay, dice: Dice, share: float) -> None:
    """Lose a share of the answers for a while: what was asked has been done, and nobody is told."""
    line.loss = share
    try:
        dice.wait(*LONG)
    finally:
        line.loss = 0.0


def silence(line: Relay, dice: Dice) -> None:
    """Let nothing pass for a while, and reset the line then.

    What was dropped meanwhile never comes, as after the restart of a router.
    """
    line.silent = True
    try:
        dice.wait(*SHORT)
    finally:
        line.reset()
        line.silent = False
