"""Hints that no job stands behind, or that are repeated."""

from contextlib import closing

from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service
from core.jobs.dispatch import HintSender, create_celery

FAMILY = "hints"


@fault(FAMILY, "workers are woken again and again")
def repeat(service: Service, dice: Dice) -> None:
    with closing(create_celery(service.servers.urls["broker_url"])) as app:
        hint_sender = HintSender(app)
        for _ in range(dice.random.randint(5, 50)):
            hint_sender.send(1)
