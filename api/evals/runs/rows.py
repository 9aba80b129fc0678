"""Checks whether the rows of a run can be judged by the eval's criteria, before the run is created."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

from core.datasets import strict_json
from core.datasets.findings import Finding
from core.datasets.kinds import is_unanswered, kind_of
from core.datasets.reader import Line, RowReader
from core.errors import InvalidRequest
from core.evals.criteria import OF_THE_ROWS_ANSWER, Criterion
from core.evals.data_sources import CompletionsDataSource, DataSource, InlineRow, item_and_sample
from core.strict_json import RepeatedKeys

LOOKED_AT = 100  # lines of a file that are read before the run is created
# What a run adds to the row of a training file, and to a prompt without an answer
ADDED, ADDED_TO_PROMPT = ("input", "reference"), ("input",)


@dataclass(frozen=True)
class RowRules:
    """What each row must have.

    `sample`: what a model wrote. `answer`: an answer of its own, for criteria of the row's answer.
    `messages`: messages to ask the model. `fields`: fields of the item.
    """

    sample: bool
    answer: bool
    messages: bool
    fields: Sequence[str]

    @classmethod
    def of(cls, criteria: Sequence[Criterion], source: DataSource, fields: Sequence[str]) -> Self:
        judges_samples = any(criterion.type not in OF_THE_ROWS_ANSWER for criterion in criteria)
        asking = source if isinstance(source, CompletionsDataSource) else None
        return cls(
            sample=judges_samples and asking is None,
            answer=any(criterion.type in OF_THE_ROWS_ANSWER for criterion in criteria),
            messages=judges_samples and asking is not None and asking.input_messages is None,
            fields=fields,
        )

    def fault(self, row: Any) -> str | None:
        """Return what is wrong with a row, or None."""
        if not isinstance(row, dict) or isinstance(row, RepeatedKeys):
            return "it is not a JSON object with each key once"
        item, sample = item_and_sample(row)
        is_training_row, is_prompt = kind_of(item) is not None, is_unanswered(item)
        added = (ADDED_TO_PROMPT if is_prompt else ADDED) if is_training_row else ()
        missing = [name for name in self.fields if name not in item and name not in added]
        if missing:
            return f"its item has no '{missing[0][:64]}', which 'item_schema' requires"
        if self.sample and not isinstance(sample, dict):
            return "it has no `sample`, which the criteria judge. Ask a model with the type 'completions'"
        if self.answer and (is_prompt or not is_training_row):
            needing = " and ".join(f"'{name}'" for name in OF_THE_ROWS_ANSWER)
            wanted = "has no answer" if is_prompt else "is not a row of a training file"
            return f"it {wanted}, which {needing} need"
        if self.messages and not is_training_row and "input" not in item:
            return "its item has no `input` to ask the model. Set 'data_source.input_messages'"
        return None


def check_inline(rows: Sequence[InlineRow], rules: RowRules, param: str) -> None:
    """Raise InvalidRequest for the first row of a request that cannot be judged."""
    for index, row in enumerate(rows):
        if fault := rules.fault(row.model_dump()):
            raise InvalidRequest(
                f"The row cannot be judged: {fault}.", code="invalid_row", param=f"{param}.{index}"
            )


def check_rows(chunks: Iterable[bytes], rules: RowRules, param: str, max_row_bytes: int, most: int) -> int:
    """Check the first rows of a file, at most `most`, and return how many were checked.

    Raises InvalidRequest for a row that cannot be judged, and for a file without rows.
    """
    rows = 0
    for number, line in _lines(chunks, max_row_bytes):
        if fault := _fault(line, rules):
            raise InvalidRequest(
                f"Line {number} of the file cannot be judged: {fault}.", code="invalid_row", param=param
            )
        rows += 1
        if rows == most:
            break
    if rows == 0:
        raise InvalidRequest("The file has no rows.", code="empty_file", param=param)
    return rows


def _lines(chunks: Iterable[bytes], max_row_bytes: int) -> Iterator[Line]:
    reader = RowReader(max_row_bytes)
    return chain(chain.from_iterable(map(reader.feed, chunks)), reader.finish())


def _fault(line: bytes | Finding, rules: RowRules) -> str | None:
    if isinstance(line, Finding):
        return line.message
    try:
        return rules.fault(strict_json.parse(line))
    except strict_json.UnreadableLine as error:
        return str(error)
