"""Warnings that follow from how answers to the validation prompts have changed."""

from collections.abc import Iterator, Sequence
from typing import Any

from core.evals.statistics.difference import PairedDifference
from core.objectives.reinforcement import HYPERPARAMETERS, Reinforcement
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.drift import Change
from worker.trainer.reinforce.measures import mean_of
from worker.trainer.report.samples import shortened
from worker.trainer.report.warnings import TrainingWarning

WORST_ROWS = 5


def drift_warnings(
    step: int, change: Change, graded: Sequence[GradedAnswer], objective: Reinforcement
) -> Iterator[TrainingWarning]:
    """Yield the warnings of the validation at `step`, whose answers are `graded`."""
    if change.is_hacked:
        yield _on_hacking(step, change, graded, objective)
    if (rise := change.clear_rise("truncated")) is not None:
        learnt = "Nothing is learnt from such answers" if objective.mask_truncated else "They are learnt from"
        reason = (
            f"The share of answers that are cut off at {objective.most_of_an_answer} has risen "
            f"from {_share(change, 'truncated')}. {learnt}. Raise {objective.limits_of_an_answer}, "
            "or let the grader give less to long answers."
        )
        yield TrainingWarning("answers_cut_off", reason, {"step": step, "truncated": _numbers(rise)})
    if (rise := change.clear_rise("repetition")) is not None:
        reason = (
            "Answers repeat themselves: the share of their 4-grams that came before in the same answer has "
            f"risen from {_share(change, 'repetition')}. The model may collapse. Lower the learning rate, "
            "and let the grader give less to repetitions."
        )
        yield TrainingWarning("answers_repeat", reason, {"step": step, "repetition": _numbers(rise)})


def _on_hacking(
    step: int, change: Change, graded: Sequence[GradedAnswer], objective: Reinforcement
) -> TrainingWarning:
    reward, audit, auditor = change.reward, change.audit, objective.audit_grader
    assert reward is not None
    assert audit is not None
    assert auditor is not None
    rows = _worst_rows(change, graded[:: objective.eval_samples])
    lines = ", ".join(str(row["line"]) for row in rows)
    message = (
        f"The model exploits the grader (reward hacking): from the first validation to step {step}, the mean "
        f"reward by '{objective.grader.name}' has risen ({_told(reward)}), but that by the audit "
        f"'{auditor.name}' has fallen ({_told(audit)}). The audit fell most in the validation rows of the "
        f"lines {lines}. Read the answers to them, and change the grader so that it gives them less."
    )
    if not objective.stop_on_audit:
        message += f" {HYPERPARAMETERS}.stop_on_audit ends such a job."
    numbers = {"step": step, "reward": _numbers(reward), "audit": _numbers(audit), "rows": rows}
    return TrainingWarning("reward_hacking", message, numbers)


def _worst_rows(change: Change, answers: Sequence[GradedAnswer]) -> list[dict[str, Any]]:
    """Return the rows whose audit fell most, with one of the `answers` to each."""
    found = []
    for number, one in enumerate(answers):
        known = {
            f"{when}_{name}": measured[name][number]
            for name in ("reward", "audit")
            for when, measured in (("first", change.first), ("last", change.now))
        }
        before, after = known["first_audit"], known["last_audit"]
        if before is not None and after is not None and after < before:
            row = {"line": one.answer.line, **known, "answer": shortened(one.answer.text)}
            found.append((after - before, row))
    return [row for _, row in sorted(found, key=lambda each: each[0])[:WORST_ROWS]]


def _share(change: Change, name: str) -> str:
    return f"{mean_of(change.first, name):.0%} at the first validation to {mean_of(change.now, name):.0%}"


def _told(found: PairedDifference) -> str:
    return f"{found.value:+.3g}, 95 % interval {found.low:+.3g} to {found.high:+.3g}"


def _numbers(found: PairedDifference) -> dict[str, Any]:
    return {"difference": found.value, "low": found.low, "high": found.high, "p_value": found.p_value}
