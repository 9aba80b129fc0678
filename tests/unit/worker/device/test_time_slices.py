"""Who computes on a shared device, and for how long. Time passes only where a test says that it does."""

import threading

import pytest

from tests.fixtures.service.api import wait_for
from worker.device.time_slices import MOST_SECONDS, TimeSlices

MICRO_BATCH, STEP = 1.0, 0.125  # seconds


class Device:
    """A shared device with a clock of its own, and the seconds that each side has had of it."""

    def __init__(self, share: float) -> None:
        self.now = self.trained = self.sampled = 0.0
        self.slices = TimeSlices(share, clock=lambda: self.now)

    def train(self, micro_batches: int) -> None:
        for _ in range(micro_batches):
            self.now += MICRO_BATCH
            self.trained += MICRO_BATCH
            self.slices.give()

    def sample(self, steps: int) -> threading.Thread:
        """Want so many steps of sampling, in a thread as long as they last. Return once the thread waits."""

        def work() -> None:
            left = steps
            while left:
                with self.slices.slice() as goes_on:
                    left -= 1
                    self._step()
                    while left and goes_on():
                        left -= 1
                        self._step()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _step(self) -> None:
        self.now += STEP
        self.sampled += STEP

    def wait_until_wanted(self) -> None:
        wait_for(lambda: self.slices._waiting)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.75])
def test_chats_get_their_share_of_the_time_to_a_step(share: float) -> None:
    device = Device(share)
    with device.slices.held():
        thread = device.sample(10_000)
        device.wait_until_wanted()
        for _ in range(40):
            device.train(1)
            device.wait_until_wanted()  # as in a micro-batch that takes its time
        sampled, trained = device.sampled, device.trained
    thread.join(120)
    assert abs(sampled - trained * share / (1 - share)) <= STEP
    assert not thread.is_alive(), "once nobody trains, they go on to their end"


def test_nothing_is_saved_up_while_nobody_chats() -> None:
    device = Device(0.5)
    with device.slices.held():
        device.train(100)
        thread = device.sample(1000)
        device.wait_until_wanted()
        device.train(1)
        assert device.sampled <= MICRO_BATCH + STEP
    thread.join(120)


def test_what_one_turn_took_too_much_is_waited_for_also_after_nobody_chatted() -> None:
    device = Device(0.5)
    with device.slices.held():
        first = device.sample(1)
        device.wait_until_wanted()
        device.now += MICRO_BATCH
        device.slices._owed = -10.0  # a slice of one long computation, such as the loading of a large adapter
        device.slices.give()
        device.train(3)
        assert device.sampled == 0, "the debt is not paid off yet"
        device.train(8)
        assert device.sampled == STEP
    first.join(120)
    with device.slices.held():
        device.slices._owed = -10.0
        device.train(4)  # nobody waits
        second = device.sample(1)
        device.wait_until_wanted()
        device.train(2)
        assert device.sampled == STEP, "four seconds of training do not forgive a debt of ten"
        device.train(6)
        assert device.sampled == 2 * STEP
    second.join(120)


def test_a_turn_is_bounded_however_long_a_micro_batch_was() -> None:
    device = Device(0.9)
    with device.slices.held():
        thread = device.sample(1000)
        device.wait_until_wanted()
        device.now += 1000
        device.slices.give()
        assert device.sampled == MOST_SECONDS
    thread.join(120)


def test_a_turn_ends_as_soon_as_nobody_has_anything_to_compute() -> None:
    device = Device(0.5)
    with device.slices.held():
        thread = device.sample(2)
        device.wait_until_wanted()
        device.train(1)
        assert device.sampled == 2 * STEP
        before = device.now
        device.slices.give()
        assert device.now == before
    thread.join(120)


def test_no_two_threads_compute_at_once() -> None:
    device, inside, most = Device(0.5), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with device.slices.slice():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    with device.slices.held():
        for thread in threads:
            thread.start()
        for _ in range(20):
            device.train(1)
            assert inside == 0, "nobody computes while the trainer does"
        with device.slices.released():
            for thread in threads:
                thread.join(120)
    assert most == 1


def test_the_trainer_waits_for_what_the_device_still_computes_only_if_others_wait() -> None:
    waited: list[bool] = []
    slices = TimeSlices(0.5, finish=lambda: waited.append(True))
    with slices.held():
        slices.give()
        assert not waited
        thread = threading.Thread(target=_one_slice, args=(slices,), daemon=True)
        thread.start()
        wait_for(lambda: slices._waiting)
        slices.give()
        assert waited
    thread.join(120)


def _one_slice(slices: TimeSlices) -> None:
    with slices.slice():
        pass
