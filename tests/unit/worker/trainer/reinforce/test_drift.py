"""How a validation differs from the first one: when the reward is hacked, and what the warnings say."""

from dataclasses import asdict
from json import dumps, loads

import numpy as np
import pytest

from tests.fixtures.engine.rollouts import GRADER, reinforcement, whole
from worker.engine.sampler.rollouts import Sampled
from worker.grading.graded import Graded
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.drift import Change, Drift
from worker.trainer.reinforce.drift_warnings import drift_warnings
from worker.trainer.reinforce.measures import Measured
from worker.trainer.report.warnings import TrainingWarning

PROMPTS = 40
OBJECTIVE = reinforcement(audit_grader={**GRADER, "name": "judge"})
EMPTY = np.zeros(0, np.int32)


def validation(seed: int = 0, **shifts: float) -> Measured:
    """Return measures of prompts that differ far more from each other than two validations do."""
    difficulty = np.random.default_rng(99).uniform(0.2, 0.8, PROMPTS)
    noise = np.random.default_rng(seed)
    found: Measured = {"completion_tokens": [8.0] * PROMPTS}
    for name in ("reward", "audit", "truncated", "repetition"):
        values = difficulty + noise.normal(shifts.get(name, 0), 0.05, PROMPTS)
        found[name] = [*values.tolist()]
    return found


def answers() -> list[GradedAnswer]:
    sampled = [
        Sampled(line, EMPTY, EMPTY, EMPTY.astype(np.float32), EMPTY.astype(np.bool_), f"answer {line}", True)
        for line in range(1, PROMPTS + 1)
    ]
    return [GradedAnswer(whole(one), Graded(1.0), Graded(0.0)) for one in sampled]


def told(first: Measured, now: Measured, **options: object) -> list[TrainingWarning]:
    objective = OBJECTIVE.model_copy(update=options)
    return list(drift_warnings(7, Change(first, now), answers(), objective))


@pytest.mark.parametrize(
    ("shifts", "holds", "hacked"),
    [
        ({"reward": 0.2, "audit": -0.2}, False, True),
        ({"reward": 0.2}, True, False),
        ({"reward": 0.2, "audit": 0.2}, True, False),
        ({"audit": -0.2}, False, False),
        ({"reward": -0.2, "audit": -0.2}, False, False),
    ],
)
def test_a_reward_is_hacked_if_it_rises_while_the_audit_falls(
    shifts: dict[str, float], holds: bool, hacked: bool
) -> None:
    change = Change(validation(), validation(1, **shifts))
    assert (change.audit_holds, change.is_hacked) == (holds, hacked)


def test_noise_alone_is_rarely_taken_for_hacking() -> None:
    found = [Change(validation(seed), validation(seed + 1000)).is_hacked for seed in range(60)]
    assert sum(found) <= 1, "both differences must be more than chance: 1 in 1,600"


def test_prompts_without_a_grade_are_left_out_and_no_audit_at_all_does_not_hold() -> None:
    first, now = validation(), validation(1, reward=0.2, audit=-0.2)
    now["audit"][:30] = [None] * 30
    assert Change(first, now).is_hacked
    now["audit"] = [None] * PROMPTS
    change = Change(first, now)
    assert (change.audit, change.audit_holds, change.is_hacked) == (None, False, False)


def test_a_drift_that_went_through_a_checkpoint_decides_the_same() -> None:
    drift = Drift()
    assert not drift.note(validation()).is_hacked
    resumed = Drift(**loads(dumps(asdict(drift))))
    later = validation(1, reward=0.2, audit=-0.2)
    assert resumed.note(later).audit == drift.note(later).audit
    assert (resumed.is_hacked, drift.is_hacked) == (True, True)
    assert not resumed.note(validation(2)).is_hacked
    assert Drift(**loads(dumps(asdict(resumed)))).is_hacked, "it stays known"


def test_the_warning_names_both_differences_and_the_worst_rows() -> None:
    first, now = validation(), validation(1, reward=0.2, audit=-0.1)
    for number, fallen in ((30, -0.6), (4, -0.5)):
        first["audit"][number], now["audit"][number] = 0.0, fallen
    (warning,) = told(first, now)
    numbers = warning.numbers
    assert warning.code == "reward_hacking"
    assert "'exact' has risen (+0.2" in warning.message
    assert "'judge' has fallen (-" in warning.message
    assert "lines 31, 5, " in warning.message
    assert "stop_on_audit ends such a job" in warning.message
    assert [row["line"] for row in numbers["rows"]][:2] == [31, 5]
    assert numbers["rows"][0]["answer"] == "answer 31"
    assert numbers["audit"]["low"] < numbers["audit"]["difference"] < numbers["audit"]["high"] < 0
    assert "stop_on_audit" not in told(first, now, stop_on_audit=True)[0].message


def test_answers_that_are_cut_off_or_repeat_themselves_much_more_often_are_told() -> None:
    cut_off, repeat = told(validation(), validation(1, truncated=0.3, repetition=0.3))
    assert (cut_off.code, repeat.code) == ("answers_cut_off", "answers_repeat")
    assert "cut off at 24 tokens" in cut_off.message
    assert "Nothing is learnt from such answers" in cut_off.message
    assert (
        "They are learnt from"
        in told(validation(), validation(1, truncated=0.3), mask_truncated=False)[0].message
    )
    assert repeat.numbers["repetition"]["difference"] == pytest.approx(0.3, abs=0.05)


def test_a_small_rise_is_not_told_and_neither_is_a_large_one_of_few_prompts() -> None:
    assert told(validation(), validation(1, truncated=0.05, repetition=0.05)) == []
    first, now = validation(), validation()
    now["truncated"] = [*first["truncated"][1:], 9.0]
    first["truncated"] = [*first["truncated"][1:], 0.0]
    assert told(first, now) == []
