"""Evals as a client sends and reads them: OpenAI's fields, and Tunery's own beside them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.eval_requests.data_source_configs import (
    DATA_SOURCE_CONFIG,
    CustomConfig,
    DataSourceConfig,
    row_schema,
)
from api.schemas import Identified, UnixSeconds, from_row
from core.endpoints.header_values import with_hidden_headers
from core.evals.criteria import MAX_CRITERIA, Criterion
from core.options import Metadata, Options
from core.tables import Eval

MAX_NAME = 256
CRITERIA: TypeAdapter[list[Criterion]] = TypeAdapter(list[Criterion])

EvalName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class CreateEval(Options):
    """An eval: what its rows look like, and the criteria by which models are judged."""

    data_source_config: DataSourceConfig
    testing_criteria: Annotated[list[Criterion], Field(min_length=1, max_length=MAX_CRITERIA)]
    name: Annotated[EvalName | None, Field(description="Default: the names of the criteria")] = None
    metadata: Metadata | None = None
    job_id: Annotated[
        str | None,
        Field(
            max_length=128,
            description="The job whose result the eval judges. `GET /v1/evals?job_id=` finds it",
        ),
    ] = None


class UpdateEval(Options):
    """What is to change. A field that is not sent stays as it is."""

    name: EvalName | None = None
    metadata: Annotated[Metadata | None, Field(description="Replaces all pairs; null removes them")] = None


class DataSourceConfigObject(BaseModel):
    """What the rows of an eval look like. `schema` is the JSON Schema of what templates can name."""

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["custom", "logs", "stored_completions"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    metadata: Metadata | None = None

    @classmethod
    def of(cls, config: DataSourceConfig) -> Self:
        pairs = None if isinstance(config, CustomConfig) else config.metadata
        return cls(type=config.type, schema_=row_schema(config), metadata=pairs)


class EvalObject(Identified):
    """An eval. `job_id` names the job whose result it judges; null if it belongs to no job."""

    object: Literal["eval"] = "eval"
    created_at: UnixSeconds
    updated_at: UnixSeconds
    name: str
    data_source_config: DataSourceConfigObject
    testing_criteria: list[Criterion]
    metadata: Metadata | None
    job_id: str | None

    @classmethod
    def of(cls, row: Eval) -> Self:
        config = DATA_SOURCE_CONFIG.validate_python(row.data_source_config)
        return from_row(
            cls,
            row,
            data_source_config=DataSourceConfigObject.of(config),
            testing_criteria=with_hidden_headers(row.criteria),
            metadata=row.client_metadata,
        )


class EvalDeleted(BaseModel):
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: Literal[True] = True
    eval_id: str
