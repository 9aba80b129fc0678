"""Hints that no job stands behind, or that are repeated."""

from contextlib import closing

from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service
from core.jobs.dispatch import Doorbell, create_celery

FAMILY = "hints"


@fault(FAMILY, "workers are woken again and again")
def repeat(service: Service, dice: Dice) -> None:
    with closing(create_celery(service.servers.urls["broker_url"])) as app:
        doorbell = Doorbell(app)
        for _ in range(dice.random.randint(5, 50)):
            doorbell.wake(1)
