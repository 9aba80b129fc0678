"""A method of adaptation as a client reads it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas import Identified
from core.methods.method import Method, MethodOptions


class PaperObject(BaseModel):
    title: str
    url: str


class MethodObject(Identified):
    object: Literal["method"] = "method"
    title: str
    good_for: str
    cost: str = Field(description="What the method trains, and how much memory and time that takes")
    runtimes: list[str] = Field(description="The programs that can load the published result")
    result: Literal["adapter", "model"] = Field(
        description="The result of a job: an adapter, to load with the base model, or a whole model"
    )
    paper: PaperObject | None
    trains: Literal["cohort", "alone"] = Field(
        description="`cohort`: jobs of the method share their steps with other jobs on the same base model. "
        "`alone`: each job trains alone"
    )
    takes_quantized: bool = Field(
        description="True if jobs of the method can train on base models with a `quantization`. LoRA can, "
        "except with some values of `init_lora_weights`"
    )
    takes_fsdp: bool = Field(
        description="True if jobs of the method can use `training.fsdp`. LoRA can, except with `use_dora` "
        "and some values of `init_lora_weights`"
    )
    learning_rate: float = Field(
        description="The peak learning rate of a job that names no `training.learning_rate`"
    )
    options: dict[str, Any] = Field(
        alias="schema", description="The JSON Schema of a job's `adapter` of this type: its options"
    )

    @classmethod
    def of(cls, method: Method, options: type[MethodOptions]) -> "MethodObject":
        paper = method.paper
        return cls(
            id=method.type,
            title=method.title,
            good_for=method.good_for,
            cost=method.cost,
            runtimes=list(method.runtimes),
            result=method.result,
            paper=PaperObject(title=paper.title, url=paper.url) if paper else None,
            trains=method.trains,
            takes_quantized=not method.needs_whole_weights,
            takes_fsdp=not method.needs_whole_weights,
            learning_rate=method.learning_rate,
            schema=options.model_json_schema(),
        )
