"""The processes of one trainer: the first takes jobs and decides, and all do the same, order by order.

An order is a method with its arguments. The first process broadcasts it, and each runs it on its own base
model and members, so that all make the same calls in the same order, whoever joins, leaves or fails. What
goes wrong in one of them is told to all before anybody goes on. A process alone is a crew of one.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import structlog
import torch
from torch import Tensor

from core.errors import JobError
from core.jobspec import JobSpec
from worker.data.render import Row
from worker.engine import loop
from worker.engine.answers import Answer, answers
from worker.engine.attach import attach
from worker.engine.base_model import ResidentBase
from worker.engine.beginning import Beginning, beginning
from worker.engine.free_memory import held_bytes
from worker.engine.loading import declared_dtype
from worker.engine.member import Member, StepResult, total_steps
from worker.engine.ranks import GroupLost, Ranks, SharedFault
from worker.engine.totals import Evaluation, Score
from worker.model_slot import ModelSlot
from worker.watchdog import Watchdog

T = TypeVar("T")

log = structlog.get_logger()


class Crew:
    """What the first process asks of all; the others `follow`. Every call may raise GroupLost."""

    def __init__(
        self, slot: ModelSlot, ranks: Ranks, max_step_tokens: int | None, watchdog: Watchdog
    ) -> None:
        self._slot = slot
        self._ranks = ranks
        self._max_step_tokens = max_step_tokens
        self._watchdog = watchdog
        self.memory_bytes = 0  # that this process held after the last round
        self._members: dict[str, Member] = {}
        self._stopping = threading.Event()
        self._dismissed = False

    @property
    def size(self) -> int:
        return self._ranks.size

    @property
    def _step_tokens(self) -> int:
        return self._max_step_tokens or self._slot.base.max_step_tokens

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self._ranks.rank == 0

    @property
    def stopping(self) -> bool:
        """Whether this process was told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """From any thread, of any process: `asked_to_stop` says so at its next call."""
        self._stopping.set()

    def asked_to_stop(self) -> bool:
        """Whether any process was told to stop. Asked often, also while there is nothing to do, it tells the
        others that the first one is still there."""
        return self._order(Crew._count_heads)

    def load(self, spec: JobSpec) -> ResidentBase:
        """Have the base model of `spec` resident in all processes. Raises JobError."""
        if not self._slot.holds(spec):
            self._order(Crew._load, spec)
        return self._slot.base

    def join(
        self,
        name: str,
        spec: JobSpec,
        rows: Sequence[Row],
        state: Mapping[str, Tensor],
        abandon: Callable[[], bool] = lambda: False,
    ) -> Member:
        """Attach a new adapter to the base model, to be restored to `state`, if any. Raises JobError.

        What the adapter begins with, this process finds out alone; Abandoned where `abandon` says so then.
        """
        with self._watchdog.over(abandon) as ask:
            first = beginning(self._slot.base, spec, rows, state, ask)
        self._order(Crew._join, name, spec, rows, first)
        return self._members[name]

    def share_state(self, member: Member) -> None:
        """Let all go on from where `member` was restored to in the first process."""
        if self.size == 1:
            return
        # Copies: a view would be sent with all that it is a view of
        state = {name: tensor.to("cpu", copy=True) for name, tensor in member.state().items()}
        self._order(Crew._restore, member.adapter.name, member.step, state)

    def train_round(
        self, members: Sequence[Member], abandon: Callable[[], bool]
    ) -> Mapping[str, StepResult | Exception]:
        """`loop.train_round`; only a process alone can abandon it on the way."""
        results: Mapping[str, StepResult | Exception]
        if self.size == 1:
            with self._watchdog.over(abandon) as ask:
                results = loop.train_round(self._slot.base, members, self._step_tokens, ask)
        else:
            results = self._order(Crew._train_round, [member.adapter.name for member in members])
        self.memory_bytes = held_bytes(self._slot.base.device)
        return results

    def evaluate(
        self, member: Member, rows: Sequence[Row], abandon: Callable[[], bool], rank: int | None = None
    ) -> Evaluation:
        """`loop.validate`, with the first `rank` ranks where one is given.

        Only a process alone can abandon it on the way.
        """
        if self.size == 1:
            with self._watchdog.over(abandon) as ask, member.at_rank(rank):
                return loop.validate(self._slot.base, member, rows, self._step_tokens, abandon=ask)
        return self._order(Crew._evaluate, member.adapter.name, rows, rank)

    def measure(self, member: Member, rows: Sequence[Row], abandon: Callable[[], bool]) -> Score:
        """`loop.measure`; only a process alone can abandon it on the way."""
        if self.size == 1:
            with self._watchdog.over(abandon) as ask:
                return loop.measure(self._slot.base, member, rows, self._step_tokens, abandon=ask)
        return self._order(Crew._measure, member.adapter.name, rows)

    def answer(
        self, member: Member, rows: Sequence[Row], max_new_tokens: int, abandon: Callable[[], bool]
    ) -> list[Answer]:
        """`answers` of this process alone, since all have the same adapter; the others wait for an order."""
        with self._watchdog.over(abandon) as ask:
            return answers(self._slot.base, member.adapter, rows, max_new_tokens, self._step_tokens, ask)

    def state_bytes(self, spec: JobSpec, candidates: Collection[int]) -> int:
        """What these candidates of a job take beside the resident base model."""
        return self._slot.state_bytes(spec, candidates)

    def leave(self, name: str) -> None:
        """Let go of the job of that name, where there is one."""
        self._order(Crew._leave, name)

    def dismiss(self) -> None:
        """The last order: all processes end."""
        self._order(Crew._dismiss)

    def follow(self) -> None:
        """Do what the first process orders, until it dismisses."""
        while not self._dismissed:
            order, arguments = self._ranks.broadcast((Crew._dismiss, ()))
            try:
                order(self, *arguments)
            except SharedFault as fault:  # the first process tells whom it concerns
                log.warning("shared_fault", rank=self._ranks.rank, exc_info=fault)

    def _order(self, order: Callable[..., T], *arguments: Any) -> T:
        self._ranks.broadcast((order, arguments))
        try:
            return order(self, *arguments)
        except SharedFault as fault:
            raise fault.error from fault
        except Exception as error:
            if self.size == 1:
                raise
            raise GroupLost(f"This process alone met {type(error).__name__}: {error}") from error

    # What every process does

    def _count_heads(self) -> bool:
        return self._ranks.any(self.stopping)

    def _load(self, spec: JobSpec) -> None:
        try:
            with self._ranks.together():
                found = self._slot.find(spec)
            own = found.published_sha256, declared_dtype(found.entry, self._slot.device)
            first = self._ranks.broadcast(own)
            with self._ranks.together():
                _refuse_difference(spec.base_model, own, first)
                self._slot.load(found)
        except SharedFault:
            self._slot.clear()  # here it may have been loaded
            raise

    def _join(self, name: str, spec: JobSpec, rows: Sequence[Row], first: Beginning) -> None:
        with self._ranks.together():
            longest = max(len(row.tokens_L) for row in rows)
            step_tokens = max(self._step_tokens, longest)
            steps = total_steps(spec, rows)
            adapter = attach(self._slot.base, name, spec, steps, step_tokens, first)
            self._members[name] = Member(adapter, spec, rows)

    def _restore(self, name: str, step: int, state: dict[str, Tensor]) -> None:
        with self._ranks.together():
            self._members[name].restore(step, state)

    def _train_round(self, names: Sequence[str]) -> Mapping[str, StepResult | Exception]:
        members = [self._members[name] for name in names]
        with self._watchdog.over() as ask:
            return loop.train_round(self._slot.base, members, self._step_tokens, ask, self._ranks)

    def _evaluate(self, name: str, rows: Sequence[Row], rank: int | None) -> Evaluation:
        member = self._members[name]
        with self._watchdog.over() as ask, member.at_rank(rank):
            return loop.validate(self._slot.base, member, rows, self._step_tokens, self._ranks, ask)

    def _measure(self, name: str, rows: Sequence[Row]) -> Score:
        member = self._members[name]
        with self._watchdog.over() as ask:
            return loop.measure(self._slot.base, member, rows, self._step_tokens, self._ranks, ask)

    def _leave(self, name: str) -> None:
        self._members.pop(name, None)

    def _dismiss(self) -> None:
        self._dismissed = True
        self._ranks.part_ways()


def _refuse_difference(model: str, own: tuple[str, torch.dtype], first: tuple[str, torch.dtype]) -> None:
    """Of what a process and the first one would train on: weights, and the type that they are computed in."""
    if own == first:
        return
    if own[0] != first[0]:
        found = f"hold different weights of {model}."
    else:
        found = f"would compute {model} in different types. Declare its dtype in their catalogs."
    raise JobError("model_unavailable", f"The machines that train together {found}", "model")
