"""Processes that are killed, and processes that freeze for a while, also for longer than a lease lasts."""

import signal
from collections.abc import Sequence
from contextlib import suppress

import psutil

from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service, send

FAMILY = "processes"
FROZEN = 2.0, 25.0  # seconds; a lease of a soak test lasts 15


def kill(kind: str, service: Service, dice: Dice) -> None:
    """Kill one process of this kind, if there is one."""
    if found := service.find(kind):
        send(dice.choice(found), signal.SIGKILL)


def freeze(kind: str, service: Service, dice: Dice) -> None:
    """Stop one process of this kind for a while, and let it go on."""
    if found := service.find(kind):
        freeze_all([dice.choice(found)], dice)


def freeze_all(processes: Sequence[psutil.Process], dice: Dice) -> None:
    try:
        for process in processes:
            send(process, signal.SIGSTOP)
        dice.wait(*FROZEN)
    finally:
        for process in processes:
            send(process, signal.SIGCONT)


def kill_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return the process and its descendants."""
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


@fault(FAMILY, "a trainer is killed", ends_processes=True)
def kill_a_trainer(service: Service, dice: Dice) -> None:
    kill("trainer", service, dice)


@fault(FAMILY, "a trainer freezes")
def freeze_a_trainer(service: Service, dice: Dice) -> None:
    freeze("trainer", service, dice)


@fault(FAMILY, "a worker is killed, its trainer is not", ends_processes=True)
def kill_a_worker(service: Service, dice: Dice) -> None:
    kill("worker", service, dice)


@fault(FAMILY, "a worker freezes")
def freeze_a_worker(service: Service, dice: Dice) -> None:
    freeze("worker", service, dice)


@fault(FAMILY, "a worker and its trainer are killed", ends_processes=True)
def kill_a_worker_and_its_trainer(service: Service, dice: Dice) -> None:
    if found := service.find("worker"):
        kill_all(tree(dice.choice(found)))


@fault(FAMILY, "a worker and its trainer freeze")
def freeze_a_worker_and_its_trainer(service: Service, dice: Dice) -> None:
    """Another worker gets the jobs meanwhile. Later the frozen trainer goes on as if it still had them."""
    if found := service.find("worker"):
        freeze_all(tree(dice.choice(found)), dice)


@fault(FAMILY, "a render process is killed", ends_processes=True)
def kill_a_render_process(service: Service, dice: Dice) -> None:
    kill("render process", service, dice)


@fault(FAMILY, "a render process freezes")
def freeze_a_render_process(service: Service, dice: Dice) -> None:
    freeze("render process", service, dice)


@fault(FAMILY, "the API is killed", ends_processes=True)
def kill_the_api(service: Service, dice: Dice) -> None:
    kill("api", service, dice)


@fault(FAMILY, "the API freezes")
def freeze_the_api(service: Service, dice: Dice) -> None:
    freeze("api", service, dice)


@fault(FAMILY, "tunery up is killed, its parts are not", ends_processes=True)
def kill_up(service: Service, dice: Dice) -> None:
    """The next `tunery up` on the folder finds the parts and stops them."""
    kill("up", service, dice)


@fault(FAMILY, "tunery up is killed with all its parts", ends_processes=True)
def kill_up_and_its_parts(service: Service, _dice: Dice) -> None:
    for up in service.find("up"):
        kill_all(tree(up))


@fault(FAMILY, "tunery up is stopped in order", ends_processes=True)
def stop_up(service: Service, _dice: Dice) -> None:
    for up in service.find("up"):
        send(up, signal.SIGTERM)


@fault(FAMILY, "the machine dies", touches=("Postgres", "Valkey", "the object store"), ends_processes=True)
def kill_everything(service: Service, dice: Dice) -> None:
    """Kill all processes of the service, and all servers."""
    kill_all(service.processes())
    for name in service.servers.names:
        service.servers.kill(name)
    dice.wait(1.0, 5.0)
    for name in service.servers.names:
        service.servers.restart(name)
