"""The lines between clients and the API break, so that clients repeat what may have been carried out."""

from bench.soak.families import lines
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service

FAMILY = "clients"


@fault(FAMILY, "their lines are reset")
def reset(service: Service, dice: Dice) -> None:
    lines.reset(service.api_line, dice)


@fault(FAMILY, "their lines are half closed")
def half_close(service: Service, dice: Dice) -> None:
    lines.half_close(service.api_line, dice)


@fault(FAMILY, "answers to them are lost")
def lose_answers(service: Service, dice: Dice) -> None:
    lines.lose_answers(service.api_line, dice, share=0.3)


@fault(FAMILY, "their lines are slow")
def delay(service: Service, dice: Dice) -> None:
    lines.delay(service.api_line, dice)


@fault(FAMILY, "their lines fall silent")
def silence(service: Service, dice: Dice) -> None:
    lines.silence(service.api_line, dice)
