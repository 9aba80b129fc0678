"""Projects, API keys, the audit log and usage, in the form of OpenAI's administration API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Deleted, Identified, Seconds, UnixSeconds, from_row
from core.access.projects import quotas_of
from core.roles import Role
from core.settings.sign_on import ProjectName
from core.tables import ApiKey, AuditLog, Project

MAX_COUNT = 2**31 - 1
MAX_BYTES = 2**62
MAX_DAYS = 100 * 365
MAX_LIFETIME = 10 * 365 * 24 * 3600

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class ProjectQuotas(BaseModel):
    """The limits of a project. Null stands for the installation's default.

    `stored_bytes` limits the files that the project stores, and `requests_per_minute` the requests of all its
    keys together. `concurrent_chats` limits the answers that are written at the same time: a chat or
    completion counts as often as it has prompts, times `n`, but never as more than the quota.
    `tokens_per_minute` limits the tokens of prompts and answers. `completion_bytes` limits the stored chat
    completions: with 0, none is stored. After `completion_days` they are removed.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    queued_jobs: Count | None = None
    running_jobs: Count | None = None
    stored_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    concurrent_chats: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    completion_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    completion_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = None


class CreateProject(BaseModel):
    name: Annotated[
        ProjectName, Field(description="A part of the names of the project's models, so it can never change")
    ]
    quotas: ProjectQuotas = ProjectQuotas()


class UpdateProject(BaseModel):
    quotas: Annotated[ProjectQuotas, Field(description="Quotas that are left out stay as they are")]


class ProjectObject(Identified):
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: UnixSeconds
    archived_at: None = None
    status: Literal["active"] = "active"
    quotas: ProjectQuotas

    @classmethod
    def of(cls, project: Project) -> "ProjectObject":
        return from_row(cls, project, quotas=quotas_of(project))


class CreateApiKey(BaseModel):
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    role: Role = Role.MEMBER
    expires_in_seconds: Annotated[
        Annotated[int, Field(ge=1, le=MAX_LIFETIME, strict=True)] | None,
        Field(description="How many seconds the key is valid. Without it, the key does not expire"),
    ] = None


class ApiKeyObject(Identified):
    """An API key, without its value. It belongs to a project.

    `owner` is empty, unless people's sessions act for the key: then it names the person who has signed on.
    """

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    role: Role
    created_at: UnixSeconds
    expires_at: Annotated[Seconds | None, Field(description="Unix seconds. Null if the key does not expire")]
    redacted_value: Annotated[str, Field(description="The beginning of the key, to recognise it by")]
    created_by: Annotated[
        str | None, Field(description="Id of the API key that created it. Null if an operator created it")
    ] = None
    owner: dict[str, Any] = Field(default_factory=dict)
    owner_project_access: Literal["active"] = "active"

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyObject":
        person = {} if key.seat is None else {"id": key.seat.subject, "name": key.name}
        owner = {"type": "user", "user": person} if person else {}
        return from_row(cls, key, redacted_value=f"tnr_{key.id}_…", owner=owner)


class NewApiKey(ApiKeyObject):
    """A new API key. This is the only answer that holds the key itself, as `value`."""

    value: str


class ApiKeyDeleted(Deleted):
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"


class AuditActor(BaseModel):
    type: Literal["api_key", "operator"]
    api_key: Identified | None


class AuditLogObject(Identified):
    """An entry of the audit log: somebody did something.

    `type` says what was done, to which kind of thing, and `resource_id` is the id of the thing.
    """

    object: Literal["organization.audit_log"] = "organization.audit_log"
    type: str
    effective_at: UnixSeconds
    actor: AuditActor
    project: Identified
    resource_id: str
    details: Annotated[
        dict[str, Any] | None, Field(description="More about what was done, if there is more to say")
    ]
    request_id: Annotated[
        str | None, Field(description="The `x-request-id` of the request. Null if no request did it")
    ]

    @classmethod
    def of(cls, entry: AuditLog) -> "AuditLogObject":
        key = Identified(id=entry.key_id) if entry.key_id else None
        return from_row(
            cls,
            entry,
            type=entry.action,
            effective_at=entry.created_at,
            actor=AuditActor(type="api_key" if key else "operator", api_key=key),
            project=Identified(id=entry.project_id),
        )


class UsageResult(BaseModel):
    """What a project used on one day.

    `device_seconds` counts the whole time of each job on its devices, also for jobs that train together.
    """

    object: Literal["organization.usage.fine_tuning.result"] = "organization.usage.fine_tuning.result"
    project_id: str
    trained_tokens: Annotated[int, Field(description="Tokens that the project's jobs trained")]
    device_seconds: Annotated[float, Field(description="Seconds of training, times the number of devices")]


class Day(BaseModel):
    """A day in UTC."""

    object: Literal["bucket"] = "bucket"
    start_time: Annotated[int, Field(description="The beginning of the day in Unix seconds")]
    end_time: Annotated[int, Field(description="The end of the day in Unix seconds")]


class UsageBucket(Day):
    """A day in UTC, and what each project used on it. The times are Unix seconds."""

    results: list[UsageResult]


NextPage = Annotated[str | None, Field(description="The `page` of the request for the days that follow")]


class UsagePage(BaseModel):
    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: NextPage


class CompletionsUsageResult(BaseModel):
    """What a project asked of one model on one day, in chats and completions."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    project_id: str
    model: Annotated[str, Field(description="The name of the model that answered")]
    num_model_requests: Annotated[int, Field(description="Requests that a model answered, also in part")]
    input_tokens: Annotated[int, Field(description="Tokens of the prompts")]
    input_cached_tokens: Annotated[int, Field(description="Those of them that the server had cached")]
    output_tokens: Annotated[int, Field(description="Tokens of the answers")]


class CompletionsUsageBucket(Day):
    """A day in UTC, and what each project asked of each model. The times are Unix seconds."""

    results: list[CompletionsUsageResult]


class CompletionsUsagePage(BaseModel):
    object: Literal["page"] = "page"
    data: list[CompletionsUsageBucket]
    has_more: bool
    next_page: NextPage
