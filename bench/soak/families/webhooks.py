"""A receiver of webhooks that refuses them, or breaks the connection."""

from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service

FAMILY = "webhooks"


@fault(FAMILY, "their receiver answers 500")
def refuse(service: Service, dice: Dice) -> None:
    service.receiver.statuses += [500] * dice.random.randint(1, 5)


@fault(FAMILY, "their receiver breaks the connection")
def break_off(service: Service, dice: Dice) -> None:
    service.receiver.statuses += [0] * dice.random.randint(1, 5)
