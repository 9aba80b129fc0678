"""Jobs by words that a person types: each must occur in what names the job or its data, in whatever case."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, all_, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from core.tables import File, Job

TrainingFile, ValidationFile = aliased(File), aliased(File)


def with_words(query: Select[*tuple[Any, ...]], words: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Of a query of jobs, those that have all of the words. Files that were deleted keep their names."""
    return (
        query.join(TrainingFile, TrainingFile.id == Job.training_file_id)
        .outerjoin(ValidationFile, ValidationFile.id == Job.validation_file_id)
        .where(_text().ilike(all_(literal([f"%{_escaped(word)}%" for word in words], ARRAY(Text)))))
    )


def _text() -> ColumnElement[str]:
    """Put together once for all words."""
    return func.concat_ws(
        " ",
        *(Job.id, Job.suffix, Job.base_model, Job.fine_tuned_model, cast(Job.client_metadata, Text)),
        *(Job.spec["adapter"]["type"].as_string(), Job.spec["objective"]["type"].as_string()),
        *(TrainingFile.id, TrainingFile.filename, ValidationFile.id, ValidationFile.filename),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
