"""A job's adapters: one, or several candidates until the worse ones have been dropped.

All candidates see the job's rows in the job's order, so that after a step all have seen the same rows. Each
candidate trains exactly as it would train alone.
"""

from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from core.errors import JobError
from core.jobs.search import candidate_values
from core.jobs.spec import JobSpec
from core.objectives.distillation import Distillation
from core.objectives.sampling import SamplingOptions
from core.storage.file_names import DamagedFile
from core.strict_json import finite
from worker.engine.adapters.adapter import Adapter, InitialValues
from worker.engine.adapters.published import Published, first_values
from worker.engine.step.passes import Abandoned
from worker.engine.step.states import parameters_in
from worker.engine.step.totals import Score
from worker.engine.step.trainee import StepResult, Trainee
from worker.trainer.candidates.candidate import CandidateReporter, TrainingCandidate
from worker.trainer.candidates.halving import Rung, lags, rungs, survivors
from worker.trainer.candidates.reasons import why_it_was_dropped, why_it_won
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.distillation.evaluator import DistillationEvaluator
from worker.trainer.distillation.rollouts import DistillationRollouts
from worker.trainer.reading.reader import JobData
from worker.trainer.reinforce.answers import AnswerSampler
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.reinforce.reward_evaluator import RewardEvaluator
from worker.trainer.reinforce.rollouts import RewardRollouts
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.report.warnings import before_search, before_training
from worker.trainer.save.checkpoint import State
from worker.trainer.save.checkpoint_schedule import Position
from worker.trainer.save.validation_runs import ValidationRuns


def names_of(job_id: str, spec: JobSpec) -> list[str]:
    """Return the names of a job's adapters, in the order of their numbers."""
    several = spec.search is not None
    return [f"{job_id}#{number}" if several else job_id for number in range(len(spec.candidates))]


class Candidates:
    """The candidates of one job that still train; a job without a search has one candidate.

    The best candidate is the best one of the last comparison. Its reports count as the job's. The candidates
    step together, but a candidate whose step must be made again is one step behind the others until then.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        spec: JobSpec,
        data: JobData,
        job_lease: JobLease,
        abandon: Callable[[], bool] = lambda: False,
        grading: JobGrading | None = None,
        runs: ValidationRuns | None = None,
    ) -> None:
        """Attach nothing yet: `restore` and `begin` do so. They raise Abandoned if `abandon` returns True.

        `grading` grades the answers of a job that samples some, and `runs` stores the validations of one with
        reinforcement.
        """
        self._grading, self._runs = grading, runs
        self._process_group = process_group
        self._spec = spec
        self._data = data
        self._job_lease = job_lease
        self._abandon = abandon
        self._names = names_of(job_lease.lease.job_id, spec)
        self._live: list[TrainingCandidate] = []
        self._ranking = list(range(len(self._names)))
        self._tokens_of_others = 0  # the tokens of the candidates that do not train any more
        self._records: dict[int, TrainingRecord] = {}
        self._rungs: list[Rung] = []

    def _join(self, number: int, known: InitialValues) -> Trainee:
        """Attach one candidate, whose first values may be `known`. Raises JobError and Abandoned."""
        name, spec = self._names[number], self._spec.candidates[number]
        sibling = self._live[0].trainee.name if self._live else None
        rows = self._data.training_rows
        trainee = self._process_group.join(name, spec, rows, known, self._abandon, sibling)
        alone = self._spec.search is None
        self._live.append(TrainingCandidate(number, trainee, None if alone else self._reporter_of(number)))
        return trainee

    def _reporter_of(self, number: int) -> CandidateReporter:
        return CandidateReporter(self._job_lease, number, lambda: self.trained_tokens)

    @property
    def needs_parent(self) -> bool:
        """Whether `begin` needs the values of the adapter from which the job continues."""
        needs = not self._live or any(candidate.trainee.needs_parent for candidate in self._live)
        return bool(self._spec.lineage) and needs

    def begin(self, parent: Published) -> None:
        """Attach all candidates, unless a checkpoint has been restored, and begin to evaluate them.

        A job that continues from another adapter begins with the values of its `parent`. If a candidate
        cannot be attached, only that candidate fails. Raises JobError if all of them fail.
        """
        if not self._live:
            self._attach(parent)
        if parent:
            self._take_parent(parent)
        self._rungs = rungs(len(self._names), self._live[0].trainee.total_steps)
        for candidate in self._live:
            self._process_group.share_state(candidate.trainee)
            self._begin_to_evaluate(candidate)
            if candidate.reporter is not None:
                candidate.reporter.forget_after(candidate.trainee.step)
            candidate.report_status("training")
        self._warn_before_training()
        self._let_best_report()

    def _begin_to_evaluate(self, candidate: TrainingCandidate) -> None:
        group, trainee, spec, data = self._process_group, candidate.trainee, self._spec, self._data
        reporter = candidate.reporter or self._job_lease
        record = self._records.get(candidate.number, TrainingRecord())
        evaluated = group, trainee, reporter, data.validation_rows, spec, record
        if not isinstance(spec.objective, SamplingOptions):
            candidate.evaluator = Evaluator(*evaluated)
            return
        assert self._grading is not None
        assert data.training_items is not None
        sampler = AnswerSampler(group, trainee, spec.objective, self._grading)
        sampling = group, trainee, spec, sampler, data.training_items
        validating = *evaluated, sampler, data.validation_items
        if isinstance(spec.objective, Distillation):
            candidate.evaluator = DistillationEvaluator(*validating, DistillationRollouts(*sampling))
            return
        assert self._runs is not None
        candidate.evaluator = RewardEvaluator(*validating, RewardRollouts(*sampling), self._runs)

    def _take_parent(self, parent: Published) -> None:
        """Give each candidate the parent's values. After a restoration they are only the reference."""
        for candidate in self._live:
            if candidate.trainee.needs_parent:
                self._process_group.take_parent(candidate.trainee.name, parent)

    def _attach(self, parent: Published) -> None:
        refused: dict[int, JobError] = {}
        for number in list(self._ranking):
            try:
                self._join(number, first_values(self._spec.candidates[number].adapter, parent))
            except JobError as error:
                refused[number] = error
        if not self._live:
            raise self._refusal_of_all(refused)
        for number, reason in refused.items():
            self._reporter_of(number).report_status("failed", 0, 0, [], str(reason))
            self._report_failure(number, reason)
        self._ranking = [number for number in self._ranking if number not in refused]

    def _refusal_of_all(self, refused: Mapping[int, JobError]) -> JobError:
        """Return the error of the first candidate. In a search, its message names the candidate."""
        number, error = next(iter(refused.items()))
        if self._spec.search is None:
            return error
        message = f"No candidate can be trained. The first, {self._name_of(number)}: {error}"
        return JobError(error.code, message, error.param)

    def _warn_before_training(self) -> None:
        """Report the warnings that follow from the specification and the rows.

        A search reports each warning once, with the candidates that the warning concerns.
        """
        specs = self._spec.candidates
        tokens = self._data.training_rows.summary.supervised
        found = {}
        for candidate in self._live:
            parameters = candidate.trainee.adapter.parameters.master.numel()
            found[candidate.number] = list(before_training(specs[candidate.number], parameters, tokens))
        search = self._spec.search
        for warning in found[0] if search is None else before_search(found, search.describe):
            self._job_lease.warn(warning)

    def detach_all(self) -> None:
        """Detach all candidates. Then `restore` or `begin` may be called again."""
        for candidate in list(self._live):
            self._leave(candidate)

    # For checkpoints: see `Resumable`

    @property
    def adapter(self) -> Adapter:
        return self.best.trainee.adapter

    @property
    def step(self) -> int:
        return self.best.trainee.step

    @property
    def is_promised(self) -> bool:
        return self.best.evaluator.is_promised

    @property
    def still_promised(self) -> Collection[int] | None:
        return self.best.evaluator.still_promised

    @property
    def at_best(self) -> bool:
        """Whether a job's only adapter is at its best state. A search publishes its winner's last state."""
        return self._spec.search is None and self.best.evaluator.at_best

    @property
    def record(self) -> TrainingRecord:
        """The record of the only adapter. For a search: the ranking, and each candidate's own record."""
        if self._spec.search is None:
            return self.best.evaluator.record
        notes = {
            "ranking": self._ranking,
            "tokens_of_others": self._tokens_of_others,
            "candidates": {
                str(candidate.number): {
                    "step": candidate.trainee.step,
                    "metrics": candidate.evaluator.record.metrics,
                    "notes": candidate.evaluator.record.notes,
                    "rungs": candidate.rungs,
                }
                for candidate in self._live
            },
        }
        return TrainingRecord(self.best.evaluator.latest, notes)

    def state(self) -> dict[str, Tensor]:
        if self._spec.search is None:
            return self.best.trainee.state()
        return {
            f"{candidate.number}.{name}": part
            for candidate in self._live
            for name, part in candidate.trainee.state().items()
        }

    def restore(self, step: int, state: State, record: TrainingRecord) -> None:
        """Continue after `step` with the candidates that were left then.

        Raises DamagedFile, JobError and Abandoned.
        """
        self.detach_all()
        try:
            self._restore(step, state, record)
        except DamagedFile:
            self.detach_all()  # some may be attached, and `begin` would attach no others
            self._records = {}
            raise

    def _restore(self, step: int, state: State, record: TrainingRecord) -> None:
        if self._spec.search is None:
            self._join(0, parameters_in(state)).restore(step, state)
            self._records = {0: record}
            return
        for number, kept in record.notes["candidates"].items():
            prefix = f"{number}."
            own = {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}
            self._join(int(number), parameters_in(own)).restore(kept["step"], own)
            self._live[-1].rungs = kept["rungs"]
            self._records[int(number)] = TrainingRecord(kept["metrics"], kept["notes"])
        self._ranking = list(record.notes["ranking"])
        self._tokens_of_others = record.notes["tokens_of_others"]

    # For the rounds

    @property
    def numbers(self) -> list[int]:
        """The numbers of the candidates that still train."""
        return [candidate.number for candidate in self._live]

    @property
    def best(self) -> TrainingCandidate:
        return next(candidate for candidate in self._live if candidate.number == self._ranking[0])

    @property
    def trained_tokens(self) -> int:
        """The tokens of all candidates, also of those that were dropped."""
        return self._tokens_of_others + sum(candidate.trained_tokens for candidate in self._live)

    @property
    def trainees(self) -> list[Trainee]:
        """The trainees that make the next step: those that have made the fewest steps."""
        behind = min(candidate.trainee.step for candidate in self._live)
        return [candidate.trainee for candidate in self._live if candidate.trainee.step == behind]

    @property
    def finished(self) -> bool:
        return all(candidate.trainee.finished for candidate in self._live)

    @property
    def complete(self) -> bool:
        """Whether all candidates have been evaluated after the last step, and compared if that was due."""
        return self._all_measured and self._due_rung is None

    @property
    def can_step(self) -> bool:
        """Whether all that the next step learns from is there."""
        return all(candidate.evaluator.can_step for candidate in self._live)

    @property
    def position(self) -> Position:
        """The facts that decide whether a checkpoint of the present state is due."""
        made = [(candidate.number, *candidate.evaluator.progress_made) for candidate in self._live]
        return Position(
            progress=(self.complete, made),
            is_promised=self.is_promised,
            ends_training=self.best.trainee.finished,
            may_be_published=self._spec.publishes_best and self.best.evaluator.at_best,
        )

    def take(self, trainee: Trainee, result: StepResult | Exception | None, seconds: float) -> None:
        """Take in what a round that took `seconds` has made of one trainee's step.

        The result is None if the round computed at most a share of the step. If a candidate cannot go on,
        only that candidate leaves. If it is the last one, its error is raised.
        """
        candidate = next(candidate for candidate in self._live if candidate.trainee is trainee)
        if result is None:
            candidate.evaluator.note_share(seconds)
        elif isinstance(result, JobError) and len(self._live) > 1:
            self._stop(candidate, "failed", str(result))
            self._report_failure(candidate.number, result)
        elif isinstance(result, Exception):
            raise result
        else:
            candidate.evaluator.step(result, seconds)
            candidate.report_status("training")

    def _report_failure(self, number: int, error: JobError) -> None:
        self._job_lease.event(
            f"Candidate {self._name_of(number)} cannot go on: {error}",
            once_as=f"candidate {number} cannot go on",
            level="warn",
            data={"candidate": number},
        )

    @property
    def due_evaluators(self) -> list[Evaluator]:
        """The evaluators of the candidates whose validation is due."""
        return [candidate.evaluator for candidate in self._live if candidate.evaluator.is_due]

    def settle(self, abandon: Callable[[], bool]) -> None:
        """Evaluate and compare the candidates, each if it is due. Work that `abandon` ends stays due."""
        for candidate in self._live:
            candidate.evaluator.validate(abandon)
        rung = self._due_rung if self._all_measured else None
        if rung is not None:
            self._compare(rung, abandon)
        for candidate in self._live:
            candidate.evaluator.prepare_step(abandon)

    def win(self) -> JobSpec | None:
        """End the search: the candidate that is left wins.

        Return the job's specification with the winner's options, or None if the job had no search.
        """
        search, winner = self._spec.search, self.best
        if search is None or winner.reporter is None:
            return None
        reason = why_it_won(winner)
        winner.report_status("won", reason)
        winner.reporter.win()
        self._job_lease.event(
            f"Of {len(search.candidates)} candidates, {self._name_of(winner.number)} wins: {reason}",
            data={"candidate": winner.number, **candidate_values(search.model_dump(), winner.number)},
            once_as="winner",
        )
        return self._spec.with_winner(winner.number)

    @property
    def _all_measured(self) -> bool:
        return all(candidate.evaluator.complete for candidate in self._live)

    @property
    def _due_rung(self) -> Rung | None:
        """The comparison that the candidates must make before their next step."""
        steps = {candidate.trainee.step for candidate in self._live}
        due = (rung for rung in self._rungs if steps == {rung.step} and len(self._live) > rung.keep)
        return next(due, None)

    def _compare(self, rung: Rung, abandon: Callable[[], bool]) -> None:
        self.best.evaluator.progress("comparing candidates")
        rows = self._data.validation_rows
        try:
            scores = {
                candidate.number: self._process_group.measure(candidate.trainee.name, rows, abandon=abandon)
                for candidate in self._live
            }
        except Abandoned:
            return
        kept = survivors(scores, rung.keep, prefer_small=self._prefers_small)
        self._note_comparison(rung, scores, kept)
        self._ranking = kept
        for candidate in [candidate for candidate in self._live if candidate.number not in kept]:
            self._stop(
                candidate,
                "dropped",
                why_it_was_dropped(candidate, len(scores), len(kept), self._prefers_small),
            )
        for candidate in self._live:
            candidate.report_status("training")
        self._let_best_report()

    def _note_comparison(self, rung: Rung, scores: Mapping[int, Score], kept: list[int]) -> None:
        behind = lags(scores)
        for candidate in self._live:
            lag = behind[candidate.number]
            result = {
                "step": rung.step,
                "valid_loss": finite(scores[candidate.number].loss),
                "behind": finite(lag.loss),
                "noise": finite(lag.noise),
                "kept": candidate.number in kept,
                "left": len(kept),
            }
            candidate.rungs = [*candidate.rungs, result]
        dropped = sorted(scores.keys() - kept)
        names = "; ".join(
            f"{self._name_of(number)} (validation loss {scores[number].loss:.4f})" for number in kept
        )
        self._job_lease.event(
            f"Step {rung.step}: {len(kept)} of {len(scores)} candidates train on: {names}",
            data={"step": rung.step, "kept": kept, "dropped": dropped},
            once_as=f"rung {rung.step}: {kept}",
        )

    @property
    def _prefers_small(self) -> bool:
        return self._spec.search is not None and self._spec.search.kind == "auto_rank"

    def _name_of(self, number: int) -> str:
        return self._spec.search.describe(number) if self._spec.search else ""

    def _stop(self, candidate: TrainingCandidate, status: str, reason: str) -> None:
        self._tokens_of_others += candidate.trained_tokens
        candidate.report_status(status, reason)
        self._leave(candidate)
        self._ranking = [number for number in self._ranking if number != candidate.number]
        self._let_best_report()

    def close(self) -> None:
        """Stop waiting for anything: the job leaves."""
        for candidate in self._live:
            candidate.close()

    def _leave(self, candidate: TrainingCandidate) -> None:
        candidate.close()
        self._live.remove(candidate)
        self._process_group.leave(candidate.trainee.name)

    def _let_best_report(self) -> None:
        """Let the reports of the best candidate count as the job's.

        If only one candidate is left, it also reports the warnings that had to wait for the decision.
        """
        for candidate in self._live:
            if candidate.reporter is not None:
                candidate.reporter.is_best = candidate is self.best
                candidate.reporter.decided = len(self._live) == 1
                candidate.evaluator.report_warnings()
