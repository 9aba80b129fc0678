"""What an eval says about the rows of its runs, in OpenAI's form."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from core.options import Metadata, Options

JsonSchema = dict[str, Any]

SAMPLE: JsonSchema = {
    "type": "object",
    "properties": {"output_text": {"type": "string"}, "output_json": {}},
    "required": ["output_text"],
}
STORED_ITEM: JsonSchema = {
    "type": "object",
    "properties": {"input": {"type": "array"}, "reference": {"type": "string"}},
    "required": ["input"],
}


class CustomConfig(Options):
    """Rows of a form that the client chooses.

    `item_schema` describes a row's `item`. Rows in a request must have the fields that it requires; nothing
    else of it is checked.
    """

    type: Literal["custom"]
    item_schema: JsonSchema
    include_sample_schema: Annotated[
        bool, Field(description="Whether the rows get a `sample`: what a model wrote")
    ] = False


class LogsConfig(Options):
    """Stored completions of the project."""

    type: Literal["logs"]
    metadata: Metadata | None = None


class StoredCompletionsConfig(Options):
    """Stored completions of the project, under the older name."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None


DataSourceConfig = Annotated[CustomConfig | LogsConfig | StoredCompletionsConfig, Field(discriminator="type")]
DATA_SOURCE_CONFIG: TypeAdapter[DataSourceConfig] = TypeAdapter(DataSourceConfig)


def row_schema(config: DataSourceConfig) -> JsonSchema:
    """Return the JSON Schema of what templates can name."""
    properties: JsonSchema = {"item": STORED_ITEM, "sample": SAMPLE}
    if isinstance(config, CustomConfig):
        properties["item"] = config.item_schema
        if not config.include_sample_schema:
            del properties["sample"]
    return {"type": "object", "properties": properties, "required": list(properties)}


def required_fields(config: DataSourceConfig) -> list[str]:
    """Return the names of the fields that every item must have."""
    required = config.item_schema.get("required") if isinstance(config, CustomConfig) else None
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
