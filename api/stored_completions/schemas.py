"""Stored completions in OpenAI's form, and what people think of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.files.expiry import ExpiresAfter
from api.schemas import Deleted, Identified, Seconds, UnixSeconds, from_row
from core.datasets.kinds import Kind
from core.options import Metadata, Moment, Options
from core.tables import StoredCompletion

MAX_CORRECTION = 256 * 1024  # characters

Rating = Literal["up", "down"]
RatingFilter = Literal["up", "down", "none"]

# What a stored completion shows of its request, beside the messages.
OF_REQUEST = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed"),
    *("tools", "tool_choice", "response_format"),
)


class StoredCompletionObject(Identified):
    """A stored chat completion in OpenAI's form, with four fields more.

    `requested_model` is the name that the client asked for, such as an alias, and `model` the model that
    answered. `rating`, `corrected_answer` and `rated_at` say what people think of the answer.
    """

    object: Literal["chat.completion"] = "chat.completion"
    created: UnixSeconds
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None
    system_fingerprint: str | None
    service_tier: Literal["default"] | None
    metadata: dict[str, str]
    request_id: str | None
    temperature: float | None
    top_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    response_format: dict[str, Any] | None
    input_user: Annotated[str | None, Field(description="The `user` of the request")]
    requested_model: str
    rating: Rating | None
    corrected_answer: str | None
    rated_at: Annotated[Seconds | None, Field(description="Unix seconds. Null if nobody has rated it")]

    @classmethod
    def of(cls, stored: StoredCompletion) -> "StoredCompletionObject":
        request, answer = stored.request, stored.answer
        return from_row(
            cls,
            stored,
            created=answer["created"],
            choices=answer["choices"],
            **{name: answer.get(name) for name in ("usage", "system_fingerprint", "service_tier")},
            **{name: request.get(name) for name in OF_REQUEST},
            metadata=stored.client_metadata,
            input_user=request.get("user"),
            requested_model=request["model"],
        )


class StoredMessage(Identified):
    """A message of the request, as the client sent it, with an id. A list of parts is in `content_parts`."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None

    @classmethod
    def of(cls, completion_id: str, index: int, message: dict[str, Any]) -> "StoredMessage":
        content = message.get("content")
        parts = content if isinstance(content, list) else None
        others = {key: value for key, value in message.items() if key not in cls.model_fields}
        return cls(
            id=f"{completion_id}-{index}",
            role=message["role"],
            content=content if parts is None else None,
            content_parts=parts,
            **others,
        )


class UpdateCompletion(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    metadata: Annotated[Metadata | None, Field(description="Replaces all pairs. Null removes them")]


class RateCompletion(BaseModel):
    """What a person thinks of an answer, instead of an earlier rating. Without both fields, there is none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rating: Rating | None = None
    corrected_answer: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_CORRECTION, description="What the answer should have been"),
    ] = None


class CompletionDeleted(Deleted):
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"


class MakeFile(Options):
    """Which stored completions become rows of a dataset, and of which kind.

    - `chat`: the conversation with its answer, or with the corrected answer. Answers that were rated down and
      not corrected are left out.
    - `preference`: a corrected answer is preferred to the answer itself. An answer that was rated up is
      preferred to an answer to the same messages that was rated down.
    - `labelled` (KTO): each answer with its rating, and each corrected answer as a good one.
    - `prompt` (reinforcement): the messages that were answered. A corrected answer is the key `reference`,
      which graders read.
    """

    kind: Kind = "chat"
    model: Annotated[str | None, Field(max_length=512, description="The model that answered")] = None
    metadata: Annotated[Metadata | None, Field(description="Pairs that the completion's metadata holds")] = (
        None
    )
    rating: Annotated[RatingFilter | None, Field(description="`none`: without a rating")] = None
    start_time: Annotated[Moment | None, Field(description="Made at this moment or later")] = None
    end_time: Annotated[Moment | None, Field(description="Made before this moment")] = None
    filename: Annotated[str, Field(min_length=1, max_length=255)] = "completions.jsonl"
    expires_after: ExpiresAfter | None = None
