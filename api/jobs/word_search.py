"""Finds jobs by words that a person types. Case does not matter."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, all_, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from core.tables import File, Job

TrainingFile, ValidationFile = aliased(File), aliased(File)


def with_words(query: Select[*tuple[Any, ...]], words: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Narrow a query to the jobs whose names contain all of the words.

    The names are the job's own (`_names`) and those of its files. A deleted file keeps its name.
    """
    return (
        query.join(TrainingFile, TrainingFile.id == Job.training_file_id)
        .outerjoin(ValidationFile, ValidationFile.id == Job.validation_file_id)
        .where(_names().ilike(all_(literal([f"%{_escaped(word)}%" for word in words], ARRAY(Text)))))
    )


def _names() -> ColumnElement[str]:
    """Return all names as one text. So Postgres puts it together once for all words."""
    return func.concat_ws(
        " ",
        *(Job.id, Job.suffix, Job.base_model, Job.fine_tuned_model, cast(Job.client_metadata, Text)),
        *(Job.spec["adapter"]["type"].as_string(), Job.spec["objective"]["type"].as_string()),
        *(TrainingFile.id, TrainingFile.filename, ValidationFile.id, ValidationFile.filename),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
