"""A job's adapters: one, or several candidates until the worse have been dropped.

They have the job's rows in the job's order, so that after a step all have seen the same. What each trains is
what it would train alone.
"""

from collections.abc import Callable, Mapping
from math import isfinite

from torch import Tensor

from core.errors import JobError
from core.jobs.search import candidate_values
from core.jobs.spec import JobSpec
from core.storage.artifacts import DamagedArtifact
from worker.candidates.candidate import CandidateReporter, TrainingCandidate
from worker.candidates.halving import Rung, lags, rungs, survivors
from worker.data.reader import JobData
from worker.devices.process_group import ProcessGroup
from worker.engine.adapters.adapter import Adapter
from worker.engine.step.passes import Abandoned
from worker.engine.step.totals import Score
from worker.engine.step.trainee import StepResult, Trainee
from worker.report.evaluation import JobMetrics, tell
from worker.report.history import Past
from worker.report.job_lease import JobLease
from worker.report.warnings import before_search, before_training
from worker.save.checkpoint import State


def names_of(job_id: str, spec: JobSpec) -> list[str]:
    """Of a job's adapters, by their numbers."""
    several = spec.search is not None
    return [f"{job_id}#{number}" if several else job_id for number in range(len(spec.candidates))]


class Candidates:
    """Those that still train. The leader is the best of the last comparison; what it reports is the job's.

    They step together. One whose step has to be made again stays behind the others for a moment.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        job_id: str,
        spec: JobSpec,
        data: JobData,
        job_lease: JobLease,
        abandon: Callable[[], bool] = lambda: False,
    ) -> None:
        """None is attached before `restore` or `begin`, which raise Abandoned where `abandon` says so."""
        self._process_group = process_group
        self._spec = spec
        self._data = data
        self._job_lease = job_lease
        self._abandon = abandon
        self._names = names_of(job_id, spec)
        self._live: list[TrainingCandidate] = []
        self._ranking = list(range(len(self._names)))
        self._tokens_of_others = 0  # of those that train no more
        self._pasts: dict[int, Past] = {}
        self._rungs: list[Rung] = []

    def _join(self, number: int, state: State) -> Trainee:
        """Attach one, to be restored to `state`, if any. Raises JobError and Abandoned."""
        name, spec = self._names[number], self._spec.candidates[number]
        trainee = self._process_group.join(name, spec, self._data.training_rows, state, abandon=self._abandon)
        alone = self._spec.search is None
        self._live.append(TrainingCandidate(number, trainee, None if alone else self._reporter_of(number)))
        return trainee

    def _reporter_of(self, number: int) -> CandidateReporter:
        return CandidateReporter(self._job_lease, number, lambda: self.trained_tokens)

    def begin(self) -> None:
        """Attach all, unless those that are left were restored, and measure from here on.

        One that cannot be attached leaves alone. Raises JobError where none can.
        """
        if not self._live:
            self._attach()
        self._rungs = rungs(len(self._names), self._live[0].trainee.total_steps)
        for each in self._live:
            self._process_group.share_state(each.trainee)
            each.metrics = JobMetrics(
                self._process_group,
                each.trainee,
                each.reporter or self._job_lease,
                self._data.validation_rows,
                self._spec,
                self._pasts.get(each.number, Past()),
            )
            if each.reporter is not None:
                each.reporter.forget_after(each.trainee.step)
            each.stands("training")
        self._advise_before_training()
        self._let_lead()

    def _attach(self) -> None:
        refused: dict[int, JobError] = {}
        for number in list(self._ranking):
            try:
                self._join(number, {})
            except JobError as error:
                refused[number] = error
        if not self._live:
            raise self._refusal_of_all(refused)
        for number, reason in refused.items():
            self._reporter_of(number).stands("failed", 0, 0, [], str(reason))
            self._tell_that_it_failed(number, reason)
        self._ranking = [number for number in self._ranking if number not in refused]

    def _refusal_of_all(self, refused: Mapping[int, JobError]) -> JobError:
        """The first one's error, which in a search says whose it is."""
        number, error = next(iter(refused.items()))
        if self._spec.search is None:
            return error
        message = f"No candidate can be trained. The first, {self._told(number)}: {error}"
        return JobError(error.code, message, error.param)

    def _advise_before_training(self) -> None:
        """Tell what the specification and the rows say; of a search once, with the candidates concerned."""
        specs = self._spec.candidates
        found = {}
        for each in self._live:
            tokens = sum(row.supervised for row in each.trainee.rows)
            parameters = each.trainee.adapter.parameters.master.numel()
            found[each.number] = list(before_training(specs[each.number], parameters, tokens))
        search = self._spec.search
        for warning in found[0] if search is None else before_search(found, search.describe):
            tell(self._job_lease, warning)

    def let_go(self) -> None:
        """Of all, as before the beginning."""
        for each in list(self._live):
            self._leave(each)

    # What a checkpoint is made of

    @property
    def adapter(self) -> Adapter:
        return self.best.trainee.adapter

    @property
    def step(self) -> int:
        return self.best.trainee.step

    @property
    def at_epoch_end(self) -> bool:
        return self.best.trainee.at_epoch_end

    @property
    def at_best(self) -> bool:
        """Of an only adapter; among several, the one that is left is published as it is in the end."""
        return self._spec.search is None and self.best.metrics.at_best

    @property
    def past(self) -> Past:
        """Of several: who is left, who leads, and what each has come to."""
        if self._spec.search is None:
            return self.best.metrics.past
        notes = {
            "ranking": self._ranking,
            "tokens_of_others": self._tokens_of_others,
            "candidates": {
                str(each.number): {
                    "step": each.trainee.step,
                    "metrics": each.metrics.past.metrics,
                    "notes": each.metrics.past.notes,
                    "rungs": each.rungs,
                }
                for each in self._live
            },
        }
        return Past(self.best.metrics.latest, notes)

    def state(self) -> dict[str, Tensor]:
        if self._spec.search is None:
            return self.best.trainee.state()
        return {
            f"{each.number}.{name}": part
            for each in self._live
            for name, part in each.trainee.state().items()
        }

    def restore(self, step: int, state: State, past: Past) -> None:
        """Go on after `step`, with those that were left. Raises DamagedArtifact, JobError and Abandoned."""
        self.let_go()
        try:
            self._restore(step, state, past)
        except DamagedArtifact:  # with some of them, which would be taken for all that are left
            self.let_go()
            self._pasts = {}
            raise

    def _restore(self, step: int, state: State, past: Past) -> None:
        if self._spec.search is None:
            self._join(0, state).restore(step, state)
            self._pasts = {0: past}
            return
        for number, kept in past.notes["candidates"].items():
            prefix = f"{number}."
            own = {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}
            self._join(int(number), own).restore(kept["step"], own)
            self._live[-1].rungs = kept["rungs"]
            self._pasts[int(number)] = Past(kept["metrics"], kept["notes"])
        self._ranking = list(past.notes["ranking"])
        self._tokens_of_others = past.notes["tokens_of_others"]

    # What trains

    @property
    def numbers(self) -> list[int]:
        return [each.number for each in self._live]

    @property
    def best(self) -> TrainingCandidate:
        return next(each for each in self._live if each.number == self._ranking[0])

    @property
    def trained_tokens(self) -> int:
        """Of all, also of those that were dropped."""
        return self._tokens_of_others + sum(each.trained_tokens for each in self._live)

    @property
    def trainees(self) -> list[Trainee]:
        """Those whose step is the next one."""
        behind = min(each.trainee.step for each in self._live)
        return [each.trainee for each in self._live if each.trainee.step == behind]

    @property
    def finished(self) -> bool:
        return all(each.trainee.finished for each in self._live)

    @property
    def complete(self) -> bool:
        """Whether all have been evaluated, and compared where that is due."""
        return self._all_measured and self._due_rung is None

    @property
    def progress_made(self) -> object:
        """Tells whether a checkpoint has all that there is."""
        return self.complete, [(each.number, *each.metrics.state) for each in self._live]

    def take(self, trainee: Trainee, result: StepResult | Exception, seconds: float) -> None:
        """Take in one's step. One that cannot go on leaves alone; what the last one meets is raised."""
        each = next(each for each in self._live if each.trainee is trainee)
        if isinstance(result, JobError) and len(self._live) > 1:
            self._stop(each, "failed", str(result))
            self._tell_that_it_failed(each.number, result)
        elif isinstance(result, Exception):
            raise result
        else:
            each.metrics.step(result, seconds)
            each.stands("training")

    def _tell_that_it_failed(self, number: int, error: JobError) -> None:
        self._job_lease.event(
            f"Candidate {self._told(number)} cannot go on: {error}",
            once_as=f"candidate {number} cannot go on",
            level="warn",
            data={"candidate": number},
        )

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Evaluate and compare where it is due. What `abandon` ends stays due."""
        for each in self._live:
            each.metrics.validate(abandon)
        rung = self._due_rung if self._all_measured else None
        if rung is not None:
            self._compare(rung, abandon)

    def win(self) -> JobSpec | None:
        """End the search with the one that is left. Returns what the job has come to; None where it had one
        adapter from the beginning."""
        search, winner = self._spec.search, self.best
        if search is None or winner.reporter is None:
            return None
        reason = self._why_it_won(winner)
        winner.stands("won", reason)
        winner.reporter.win()
        self._job_lease.event(
            f"Of {len(search.candidates)} candidates, {self._told(winner.number)} is left: {reason}",
            data={"candidate": winner.number, **candidate_values(search.model_dump(), winner.number)},
            once_as="winner",
        )
        return self._spec.with_winner(winner.number)

    @property
    def _all_measured(self) -> bool:
        return all(each.metrics.complete for each in self._live)

    @property
    def _due_rung(self) -> Rung | None:
        steps = {each.trainee.step for each in self._live}
        due = (rung for rung in self._rungs if steps == {rung.step} and len(self._live) > rung.keep)
        return next(due, None)

    def _compare(self, rung: Rung, abandon: Callable[[], bool]) -> None:
        self.best.metrics.progress("comparing candidates")
        rows = self._data.validation_rows
        try:
            scores = {
                each.number: self._process_group.measure(each.trainee, rows, abandon) for each in self._live
            }
        except Abandoned:
            return
        kept = survivors(scores, rung.keep, prefer_small=self._prefers_small)
        self._note(rung, scores, kept)
        self._ranking = kept
        for each in [each for each in self._live if each.number not in kept]:
            self._stop(each, "dropped", self._why_it_was_dropped(each, len(scores), len(kept)))
        for each in self._live:
            each.stands("training")
        self._let_lead()

    def _note(self, rung: Rung, scores: Mapping[int, Score], kept: list[int]) -> None:
        behind = lags(scores)
        for each in self._live:
            lag = behind[each.number]
            result = {
                "step": rung.step,
                "valid_loss": _finite(scores[each.number].loss),
                "behind": _finite(lag.loss),
                "noise": _finite(lag.noise),
                "kept": each.number in kept,
                "left": len(kept),
            }
            each.rungs = [*each.rungs, result]
        dropped = sorted(scores.keys() - kept)
        names = "; ".join(
            f"{self._told(number)} (validation loss {scores[number].loss:.4f})" for number in kept
        )
        self._job_lease.event(
            f"Step {rung.step}: {len(kept)} of {len(scores)} candidates train on: {names}",
            data={"step": rung.step, "kept": kept, "dropped": dropped},
            once_as=f"rung {rung.step}: {kept}",
        )

    @property
    def _prefers_small(self) -> bool:
        return self._spec.search is not None and self._spec.search.kind == "auto_rank"

    def _why_it_won(self, winner: TrainingCandidate) -> str:
        if not winner.rungs or winner.rungs[-1]["left"] > 1:
            return "no other could go on"
        last = winner.rungs[-1]
        at = f"after step {last['step']}"
        if last["behind"] == 0:
            return f"the lowest validation loss {at}, {_shown(last['valid_loss'])}"
        return (
            f"the smallest whose validation loss {at}, {_shown(last['valid_loss'])}, is within noise of the "
            f"lowest: {_shown(last['behind'])} ± {_shown(last['noise'])} above it"
        )

    def _why_it_was_dropped(self, each: TrainingCandidate, compared: int, kept: int) -> str:
        last = each.rungs[-1]
        at = f"Validation loss {_shown(last['valid_loss'])} after step {last['step']}"
        if last["behind"] is None:
            return at
        if last["behind"] > 0:
            return f"{at}, {_shown(last['behind'])} above the lowest; {kept} of {compared} were to train on"
        if self._prefers_small:
            return f"{at}, the lowest, but a smaller candidate's is within noise of it"
        return f"{at}, the lowest, but another's is as low"

    def _told(self, number: int) -> str:
        return self._spec.search.describe(number) if self._spec.search else ""

    def _stop(self, each: TrainingCandidate, status: str, reason: str) -> None:
        self._tokens_of_others += each.trained_tokens
        each.stands(status, reason)
        self._leave(each)
        self._ranking = [number for number in self._ranking if number != each.number]
        self._let_lead()

    def _leave(self, each: TrainingCandidate) -> None:
        self._live.remove(each)
        self._process_group.leave(each.trainee.adapter.name)

    def _let_lead(self) -> None:
        """Let the leader speak for the job; of one that is left alone, also what its losses had shown."""
        for each in self._live:
            if each.reporter is not None:
                each.reporter.is_best = each is self.best
                each.reporter.decided = len(self._live) == 1
                each.metrics.tell_warnings()


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _finite(value: float) -> float | None:
    """JSON has no number for the others."""
    return value if isfinite(value) else None
