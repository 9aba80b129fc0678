"""Output items as a client reads them, in OpenAI's form.

OpenAI's types require every field of a sample. Fields that a run has no value for are empty or 0.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from api.evals.runs.schemas import EvalError
from api.schemas import Identified, UnixSeconds, unix_seconds
from core.evals.results import Record, RowResult
from core.evals.run_request import RunRequest
from core.tables import Task

ItemStatus = Literal["pass", "fail", "error"]


class ItemMessage(BaseModel):
    role: str
    content: str

    @classmethod
    def of(cls, message: dict[str, Any]) -> Self:
        """Return a message whose content is text, also if it has parts, calls of tools, or nothing."""
        content = message.get("content")
        if content is None:
            content = message.get("tool_calls") or ""
        return cls(
            role=str(message.get("role") or ""),
            content=content if isinstance(content, str) else json.dumps(content, ensure_ascii=False),
        )


class SampleUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class SampleObject(BaseModel):
    """What the model was asked and what it wrote.

    It is empty if no criterion judges a sample, and `output` alone if the rows had their samples already.
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
        given = {key: value for key, value in (sample or {}).items() if value is not None}
        for side in ("input", "output"):
            if side in given:
                given[side] = [ItemMessage.of(message) for message in given[side]]
        return cls(**given)


class OutputItemObject(Identified):
    """One row of a run: the item, what the model wrote, and what each criterion says of it.

    `status` is `error` for a row that could not be judged; `error` then says why.
    """

    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    created_at: UnixSeconds
    eval_id: str
    run_id: str
    datasource_item_id: Annotated[int, Field(description="The row's place in the data source, from 0")]
    datasource_item: dict[str, Any]
    status: ItemStatus
    results: list[RowResult]
    sample: SampleObject
    error: EvalError

    @classmethod
    def of(cls, run: Task, record: Record) -> Self:
        sample = SampleObject.of(record.sample)
        sample.model = sample.model or RunRequest.model_validate(run.request).model or ""
        return cls(
            id=item_id(run.id, record.index),
            created_at=unix_seconds(run.finished_at or run.created_at),
            eval_id=run.eval_id or "",
            run_id=run.id,
            datasource_item_id=record.index,
            datasource_item=record.item,
            status=status_of(record),
            results=record.results,
            sample=sample,
            error=EvalError(**record.error.model_dump()) if record.error else EvalError(),
        )


def item_id(run_id: str, index: int) -> str:
    return f"{run_id}-{index}"


def status_of(record: Record) -> ItemStatus:
    if record.error is not None:
        return "error"
    return "pass" if record.passed else "fail"
