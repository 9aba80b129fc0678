"""How long the rest of a training takes, from what its steps and evaluations have taken so far."""

from collections import deque

from core.jobs.evaluation_schedule import Schedule

STEPS = 50  # the newest steps, whose mean counts: rows differ, and neighbours come and go
FORWARD_SHARE = 0.4  # of the time of a step's tokens that an evaluation takes, until one was measured


class RemainingTime:
    """Seconds and tokens of the newest steps, and of the last evaluation of each kind."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque(maxlen=STEPS)
        self._evaluations: dict[bool, float] = {}

    def note_step(self, seconds: float, tokens: int) -> None:
        self._steps.append((seconds, tokens))

    def note_evaluation(self, seconds: float, whole: bool) -> None:
        self._evaluations[whole] = seconds

    def left(self, schedule: Schedule, step: int) -> float | None:
        """Return the seconds after `step`, or None before the first step."""
        if not self._steps:
            return None
        seconds = sum(each for each, _ in self._steps)
        tokens = sum(each for _, each in self._steps)
        wholes, parts = schedule.left(step)
        of_token = FORWARD_SHARE * seconds / max(1, tokens)
        whole = self._evaluations.get(True, schedule.whole_tokens * of_token)
        part = self._evaluations.get(False, schedule.part_tokens * of_token)
        return (schedule.last_step - step) * seconds / len(self._steps) + wholes * whole + parts * part
