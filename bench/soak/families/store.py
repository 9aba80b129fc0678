"""The object store dies, hangs, is cut off, or refuses a part of what it is asked."""

from bench.soak.families import lines
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service
from faults.picky_store import Refusal

FAMILY = "the object store"
REFUSING = 2.0, 15.0  # seconds


def refuse(refuses: Refusal, service: Service, dice: Dice) -> None:
    service.picky_store.refuses = refuses
    try:
        dice.wait(*REFUSING)
    finally:
        service.picky_store.refuses = lambda *_: False


@fault(FAMILY, "it is killed")
def kill(service: Service, dice: Dice) -> None:
    service.servers.kill("s3")
    dice.wait(0.0, 10.0)
    service.servers.restart("s3")


@fault(FAMILY, "its line is reset")
def reset(service: Service, dice: Dice) -> None:
    lines.reset(service.store_line, dice)


@fault(FAMILY, "its answers are lost")
def lose_answers(service: Service, dice: Dice) -> None:
    lines.lose_answers(service.store_line, dice, share=0.2)


@fault(FAMILY, "its line is slow")
def delay(service: Service, dice: Dice) -> None:
    lines.delay(service.store_line, dice)


@fault(FAMILY, "it hangs")
def hang(service: Service, dice: Dice) -> None:
    lines.silence(service.store_line, dice)


@fault(FAMILY, "it refuses multipart uploads")
def refuse_multipart(service: Service, dice: Dice) -> None:
    def refuses(method: str, path: str, _bytes: int) -> bool:
        return method in ("POST", "PUT") and "upload" in path.partition("?")[2]

    refuse(refuses, service, dice)


@fault(FAMILY, "it is full")
def refuse_all_that_is_new(service: Service, dice: Dice) -> None:
    refuse(lambda method, *_: method in ("POST", "PUT"), service, dice)
