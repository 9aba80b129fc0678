"""Says in words why a candidate has won its search, or was dropped."""

from worker.trainer.candidates.candidate import TrainingCandidate


def why_it_won(winner: TrainingCandidate) -> str:
    """Return the reason, for the event that names the winner."""
    if not winner.rungs or winner.rungs[-1]["left"] > 1:
        return "no other candidate could go on"
    last = winner.rungs[-1]
    at = f"after step {last['step']}"
    if last["behind"] == 0:
        return f"the lowest validation loss {at}, {_shown(last['valid_loss'])}"
    return (
        f"the smallest candidate whose validation loss {at}, {_shown(last['valid_loss'])}, is within "
        f"noise of the lowest: {_shown(last['behind'])} ± {_shown(last['noise'])} above it"
    )


def why_it_was_dropped(candidate: TrainingCandidate, compared: int, kept: int, prefers_small: bool) -> str:
    """Return the reason: `kept` of the `compared` candidates train on, and this one does not."""
    last = candidate.rungs[-1]
    at = f"Validation loss {_shown(last['valid_loss'])} after step {last['step']}"
    if last["behind"] is None:
        return at
    if last["behind"] > 0:
        return f"{at}, {_shown(last['behind'])} above the lowest; {kept} of {compared} train on"
    if prefers_small:
        return f"{at}, the lowest, but a smaller candidate's loss is within noise of it"
    return f"{at}, the lowest, but another candidate's loss is as low"


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
