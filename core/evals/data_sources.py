"""Where the rows of a run come from, and how a model is asked about them. Names and shapes are OpenAI's.

A row is an `item` for templates. A line `{"item": {…}}` gives it as it is. A line of a training file is an
item too; the run adds `input`, the messages before the last answer, and `reference`, that answer's text. A
prompt without an answer gets its messages as `input`, unless it has a key of this name, and no `reference`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from core.graders.schemas import Message
from core.options import Metadata, Moment, Options, unsupported

MAX_INLINE_ROWS = 1_000
MAX_MESSAGES = 64
MAX_SAMPLES = 64  # as many as a reinforcement job takes at most
MOST_SEED = 2**53  # with a record's index added, a seed must stay within 64 bits

Rows = Annotated[
    int | None, Field(ge=1, description="The number of rows to judge: the first ones. Null judges all")
]


class InlineRow(Options):
    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContentSource(Options):
    """Rows in the request itself."""

    type: Literal["file_content"]
    content: Annotated[list[InlineRow], Field(min_length=1, max_length=MAX_INLINE_ROWS)]


class FileSource(Options):
    """The lines of an uploaded file, also of a training file of any kind."""

    type: Literal["file_id"]
    id: str
    limit: Rows = None


class StoredCompletionsSource(Options):
    """Stored completions of the project, oldest first. The stored answer is the `reference`."""

    type: Literal["stored_completions"]
    created_after: Annotated[Moment | None, Field(description="Made at this moment or later")] = None
    created_before: Annotated[Moment | None, Field(description="Made before this moment")] = None
    limit: Rows = None
    metadata: Metadata | None = None
    model: str | None = None


class GeneralSource(Options):
    """A small set of general questions that Tunery carries, to see what a model has forgotten."""

    type: Literal["general"]


class TemplateInput(Options):
    """Messages whose content may contain {{ item.… }}."""

    type: Literal["template"]
    template: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


class ItemReference(Options):
    """Messages that the item itself has."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, Field(pattern=r"^item\.", max_length=256)]


class RunSamplingParams(Options):
    """How the model's answers are sampled.

    One answer to each row is greedy unless `temperature` is set. Several have temperature 1 unless it is set,
    and seeds of their own.
    """

    max_completion_tokens: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Most tokens of each answer. Default: 1024")
    ] = None
    n: Annotated[
        int | None, Field(ge=1, le=MAX_SAMPLES, description="Number of answers to each row. Default: 1")
    ] = None
    reasoning_effort: None = unsupported("The models on offer have no reasoning effort")
    response_format: dict[str, Any] | None = None
    seed: Annotated[int | None, Field(ge=-MOST_SEED, le=MOST_SEED)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    tools: list[dict[str, Any]] | None = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None


class CompletionsDataSource(Options):
    """A model's answers to the rows. Without `input_messages`, the model is asked `item.input`."""

    type: Literal["completions"]
    source: Annotated[
        FileContentSource | FileSource | StoredCompletionsSource | GeneralSource, Field(discriminator="type")
    ]
    input_messages: Annotated[TemplateInput | ItemReference, Field(discriminator="type")] | None = None
    model: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    sampling_params: RunSamplingParams | None = None

    @property
    def samples_per_row(self) -> int:
        return (self.sampling_params and self.sampling_params.n) or 1

    @property
    def most_tokens(self) -> int:
        """The most tokens of each answer, also if the request names none. A base model may never end."""
        return (self.sampling_params and self.sampling_params.max_completion_tokens) or 1024

    @property
    def temperature(self) -> float:
        """The temperature of the answers, also if the request names none."""
        given = self.sampling_params.temperature if self.sampling_params else None
        if given is None:
            return 1.0 if self.samples_per_row > 1 else 0.0
        return given


class JsonlDataSource(Options):
    """Rows that have their `sample` already. No model is asked."""

    type: Literal["jsonl"]
    source: Annotated[FileContentSource | FileSource, Field(discriminator="type")]

    @property
    def samples_per_row(self) -> int:
        return 1


DataSource = Annotated[CompletionsDataSource | JsonlDataSource, Field(discriminator="type")]
DATA_SOURCE: TypeAdapter[DataSource] = TypeAdapter(DataSource)


def item_and_sample(row: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the item that a row is, or holds, and the sample that it holds."""
    if isinstance(row.get("item"), dict) and row.keys() <= {"item", "sample"}:
        return row["item"], row.get("sample")
    return row, None
