"""The parts of the soak test that decide: which fault comes next, and whether memory grows."""

import random
from typing import Any

import pytest

from bench.soak import families
from bench.soak.deck import Deck
from bench.soak.memory import LEAST_LIFE, Memory
from bench.soak.registry import FAULTS, Fault
from bench.soak.soak import phases

MB = 10**6


def test_each_fault_is_drawn_once_before_any_is_drawn_again_in_an_order_that_the_seed_decides() -> None:
    def order(seed: int) -> list[Fault]:
        deck = Deck(FAULTS, random.Random(seed))
        drawn = []
        for _ in FAULTS:
            assert not deck.each_was_drawn
            fault = deck.draw(lambda _: True)
            assert fault is not None
            deck.give_back(fault)
            drawn.append(fault)
        assert deck.each_was_drawn
        return drawn

    assert set(order(1)) == set(FAULTS)
    assert order(1) == order(1) != order(2)


def test_two_faults_that_touch_the_same_are_never_out_at_once() -> None:
    deck = Deck(FAULTS, random.Random(1))
    out = []
    while (fault := deck.draw(lambda _: True)) is not None:
        assert not any(fault.touches & other.touches for other in out)
        out.append(fault)
    assert {family for fault in out for family in fault.touches} == {fault.family for fault in FAULTS}


def test_every_family_has_a_module_that_is_imported() -> None:
    assert len({fault.family for fault in FAULTS}) == len(families.__all__)
    assert len({(fault.family, fault.name) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("seconds", [24.0, 900.0, 7200.0])
def test_the_phases_fill_the_time_and_the_last_one_ends_no_process(seconds: float) -> None:
    planned = phases(seconds)
    assert sum(phase.seconds for phase in planned) == pytest.approx(seconds)
    assert not any(fault.ends_processes for fault in FAULTS if planned[-1].allows(fault))


@pytest.mark.parametrize(("growth", "violations"), [(0, 0), (1, 1)])
def test_memory_that_grows_is_a_violation(growth: int, violations: int) -> None:
    service: Any = None
    memory = Memory(service)
    for second in range(int(LEAST_LIFE) + 1):
        memory.samples["trainer", 7].append((second, (100 + growth * second) * MB))
    memory.samples["api", 8] = [(0, 100 * MB), (1, 900 * MB)]  # too young to be judged
    assert len(list(memory.violations())) == violations
