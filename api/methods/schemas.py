"""A method of adaptation as a client sees it."""

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
    cost: str = Field(description="What is trained, and what that takes")
    runtimes: list[str] = Field(description="What loads the result as it is published")
    result: Literal["adapter", "model"] = Field(
        description="What a job leaves: an adapter, to load with the base model, or a whole model"
    )
    paper: PaperObject | None
    trains: Literal["cohort", "alone"] = Field(
        description="Whether jobs of the method share their steps with other jobs on the base model"
    )
    takes_quantized: bool = Field(
        description="Whether its jobs train on base models with a `quantization`; LoRA's do but for some "
        "`init_lora_weights`"
    )
    takes_fsdp: bool = Field(
        description="Whether they go with `training.fsdp`; LoRA's do but for some `init_lora_weights` and "
        "`use_dora`"
    )
    learning_rate: float = Field(description="The peak where a job names no `training.learning_rate`")
    options: dict[str, Any] = Field(
        alias="schema", description="JSON Schema of a job's `adapter`: the options on offer"
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
