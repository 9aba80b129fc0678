"""A job's validation: made when it is due, and made again where it was abandoned, with the same result."""

from math import inf
from types import SimpleNamespace
from typing import Any, cast

from core.jobspec import Hyperparameters
from tests.unit.engine.rows import make_rows
from tests.unit.engine.test_training import make_member, make_spec
from worker.crew import Crew
from worker.engine.base_model import ResidentBase
from worker.engine.loop import train_round
from worker.engine.member import StepResult
from worker.engine.ranks import ALONE
from worker.job_metrics import JobMetrics
from worker.model_slot import ModelSlot
from worker.watchdog import Watchdog

MAX_TOKENS = 64
ONE_STEP = Hyperparameters(n_epochs=1, batch_size=12, learning_rate_multiplier=1.0)


def test_an_abandoned_validation_is_made_after_the_resume_and_reported_once(base: ResidentBase) -> None:
    member = make_member(base, "job", make_spec(hyperparameters=ONE_STEP), make_rows(12, 0))
    crew = Crew(cast(ModelSlot, SimpleNamespace(base=base)), ALONE, MAX_TOKENS, Watchdog(inf))
    reported: list[Any] = []
    phases: list[str] = []
    reporter = SimpleNamespace(
        progress=lambda progress: phases.append(progress.phase),
        metrics=lambda metrics, _message: reported.append(metrics.data),
    )

    def metrics_from(latest: dict[str, Any]) -> JobMetrics:
        return JobMetrics(crew, member, cast(Any, reporter), make_rows(20, 1), None, latest)

    (result,) = train_round(base, [member], MAX_TOKENS).values()
    assert isinstance(result, StepResult)
    undisturbed = metrics_from({})
    undisturbed.step(result, seconds=1.0)
    undisturbed.validate(abandon=lambda: False)

    disturbed = metrics_from({})
    disturbed.step(result, seconds=1.0)
    assert not disturbed.complete
    answers = iter([False, False, True])
    disturbed.validate(abandon=lambda: next(answers))
    assert not disturbed.complete
    assert len(reported) == 1, "what lacks its validation is not reported"
    resumed = metrics_from(disturbed.latest)  # as a checkpoint keeps them
    resumed.validate(abandon=lambda: False)
    assert resumed.complete
    assert reported == [undisturbed.latest, undisturbed.latest]
    assert undisturbed.latest["full_valid_loss"] > 0
    assert "validating" in phases
