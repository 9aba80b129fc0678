"""Valkey is wiped, dies, is cut off, or is slow. It holds nothing but hints and counts."""

from redis import Redis

from bench.soak.families import lines
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service

FAMILY = "Valkey"


@fault(FAMILY, "it is wiped")
def wipe(service: Service, _dice: Dice) -> None:
    with Redis.from_url(service.servers.urls["broker_url"]) as redis:
        redis.flushall()


@fault(FAMILY, "it is killed")
def kill(service: Service, dice: Dice) -> None:
    service.servers.kill("valkey")
    dice.wait(0.0, 10.0)
    service.servers.restart("valkey")


@fault(FAMILY, "its line is reset")
def reset(service: Service, dice: Dice) -> None:
    lines.reset(service.broker_line, dice)


@fault(FAMILY, "its answers are lost")
def lose_answers(service: Service, dice: Dice) -> None:
    lines.lose_answers(service.broker_line, dice, share=0.3)


@fault(FAMILY, "its line is slow")
def delay(service: Service, dice: Dice) -> None:
    lines.delay(service.broker_line, dice)


@fault(FAMILY, "its line is half closed")
def half_close(service: Service, dice: Dice) -> None:
    lines.half_close(service.broker_line, dice)


@fault(FAMILY, "its line falls silent")
def silence(service: Service, dice: Dice) -> None:
    lines.silence(service.broker_line, dice)
