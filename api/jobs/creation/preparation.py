"""Checks the split and the variants of rows that a request asks for."""

from api.jobs.creation.schemas import CreateJob
from core.datasets.check import MIN_ROWS
from core.datasets.preparation.requests import AUGMENTATION, SPLIT, Preparation
from core.errors import InvalidRequest
from core.settings import Settings


def preparation_of(request: CreateJob, rows: int, settings: Settings) -> Preparation | None:
    """Return what a job's rows are made of `rows` rows by, or None if it trains on the file as it is.

    Raises InvalidRequest.
    """
    asked = Preparation(validation_split=request.validation_split, augmentation=request.augmentation)
    if asked == Preparation():
        return None
    if asked.validation_split is not None:
        if request.validation_file is not None:
            raise _refusal(SPLIT, "does not go with a 'validation_file': name one of the two.")
        _refuse_bad_split(asked, rows, settings.max_validation_rows)
    if asked.augmentation is not None and not asked.augmentation.names_a_kind:
        kinds = "few_shot_order, typing_noise, user_case, system_prompts or label_order"
        raise _refusal(AUGMENTATION, f"names no kind of variant. Set {kinds}, or leave it out.")
    if (most := asked.trained(rows)) > settings.max_training_rows:
        reason = (
            f"makes up to {most:,} rows; a job on this server takes at most {settings.max_training_rows:,}."
        )
        raise _refusal(f"{AUGMENTATION}.copies", reason)
    return asked


def _refuse_bad_split(asked: Preparation, rows: int, most: int) -> None:
    held = asked.held_out(rows)
    if held > most:
        reason = f"holds {held:,} rows out; a job on this server takes at most {most:,}. Name so many rows."
        raise _refusal(SPLIT, reason)
    if held < 1 or rows - held < MIN_ROWS:
        reason = (
            f"holds {held:,} of {rows:,} rows out and leaves {max(rows - held, 0):,} to train on; a job "
            f"needs at least one row and {MIN_ROWS}."
        )
        raise _refusal(SPLIT, reason)


def _refusal(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {reason}", code="invalid_value", param=param)
