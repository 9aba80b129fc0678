"""The form that a request may ask of answers: any text, JSON, or JSON of a schema. Shapes are OpenAI's."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainSerializer

from core.options import Options

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
JsonSchema = dict[str, Any]


class TextFormat(Options):
    type: Literal["text"]


class JsonObjectFormat(Options):
    type: Literal["json_object"]


class NamedSchema(Options):
    """A JSON schema with a name. The answer always has its form, whether `strict` is set or not."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: FunctionName
    description: str | None = None
    schema_: Annotated[JsonSchema | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(Options):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat,
    Field(discriminator="type", description="The form of the answer: any text, JSON, or JSON of a schema"),
]

if TYPE_CHECKING:
    PlainResponseFormat = dict[str, Any]
else:
    PlainResponseFormat = Annotated[
        ResponseFormat,
        AfterValidator(lambda form: form.model_dump(exclude_none=True)),
        PlainSerializer(lambda form: form, return_type=dict[str, Any]),
    ]
    """A checked response format as JSON, without what is null."""
