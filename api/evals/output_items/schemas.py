"""Output items as a client reads them, in OpenAI's form.

OpenAI's types require every field of a sample. Fields that a run has no value for are empty or 0.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from api.evals.runs.schemas import EvalError
from api.schemas import Identified, UnixSeconds, unix_seconds
from core.evals.results import ItemStatus, Record, RowResult
from core.evals.run_request import RunRequest
from core.tables import Task


class ItemMessage(BaseModel):
    """A message whose content is text. Parts of a content, and calls of tools, are shown as JSON."""

    role: str
    content: str

    @model_validator(mode="before")
    @classmethod
    def _as_text(cls, message: Any) -> Any:
        if not isinstance(message, dict) or isinstance(message.get("content"), str):
            return message
        content = message.get("content") or message.get("tool_calls")
        return {**message, "content": json.dumps(content, ensure_ascii=False) if content else ""}


class SampleUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class SampleObject(BaseModel):
    """What the model was asked and what it wrote.

    It is empty if no criterion judges a sample. If a row came with its sample, it has what the row says.
    """

    input: list[ItemMessage] = []
    output: list[ItemMessage] = []
    model: str = ""
    finish_reason: str = ""
    usage: SampleUsage = SampleUsage()
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    max_completion_tokens: Annotated[int, Field(description="0 if the run set no limit")] = 0
    error: EvalError = EvalError()

    @classmethod
    def of(cls, sample: dict[str, Any] | None) -> Self:
        """Return the sample of a record. A sample that came with its row may have any form."""
        given = {key: value for key, value in (sample or {}).items() if value is not None}
        written = given.get("output_text")
        if isinstance(written, str):
            given.setdefault("output", [{"role": "assistant", "content": written}])
        try:
            return cls(**given)
        except ValidationError:
            text = written if isinstance(written, str) else json.dumps(sample, ensure_ascii=False)
            return cls(output=[ItemMessage(role="assistant", content=text)])


class OutputItemObject(Identified):
    """One row of a run: the item, what the model wrote, and what each criterion says of it.

    A row that was sampled several times has so many output items, one after the other. `status` is `error`
    for an answer that could not be judged; `error` then says why.
    """

    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    created_at: UnixSeconds
    eval_id: str
    run_id: str
    datasource_item_id: Annotated[int, Field(description="The row's position in the data source, from 0")]
    datasource_item: dict[str, Any]
    status: ItemStatus
    results: list[RowResult]
    sample: SampleObject
    error: EvalError

    @classmethod
    def of(cls, run: Task, record: Record) -> Self:
        asked, sample = RunRequest.model_validate(run.request), SampleObject.of(record.sample)
        sample.model = sample.model or asked.model or ""
        return cls(
            id=item_id(run.id, record.index),
            created_at=unix_seconds(run.finished_at or run.created_at),
            eval_id=run.eval_id or "",
            run_id=run.id,
            datasource_item_id=record.index // asked.data_source.samples_per_row,
            datasource_item=record.item,
            status=record.status,
            results=record.results,
            sample=sample,
            error=EvalError(**record.error.model_dump()) if record.error else EvalError(),
        )


def item_id(run_id: str, index: int) -> str:
    return f"{run_id}-{index}"
