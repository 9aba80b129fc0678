"""Projects, keys, the audit log and usage, in the shapes of OpenAI's administration."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Identified, unix_seconds
from core.access.projects import quotas_of
from core.roles import Role
from core.tables import ApiKey, AuditLog, Project

MAX_COUNT = 2**31 - 1
MAX_BYTES = 2**62
MAX_LIFETIME = 10 * 365 * 24 * 3600

# A part of the fine-tuned models' names, whose parts are separated by colons.
ProjectName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class ProjectQuotas(BaseModel):
    """What the project may have; null is the installation's default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    queued_jobs: Count | None = None
    running_jobs: Count | None = None
    stored_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None


class CreateProject(BaseModel):
    name: Annotated[ProjectName, Field(description="Part of the names of its models: it never changes")]
    quotas: ProjectQuotas = ProjectQuotas()


class UpdateProject(BaseModel):
    quotas: Annotated[ProjectQuotas, Field(description="Those that are left out stay as they are")]


class ProjectObject(Identified):
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: None = None
    status: Literal["active"] = "active"
    quotas: ProjectQuotas

    @classmethod
    def of(cls, project: Project) -> "ProjectObject":
        return cls(
            id=project.id,
            name=project.name,
            created_at=unix_seconds(project.created_at),
            quotas=ProjectQuotas(**quotas_of(project)),
        )


class CreateApiKey(BaseModel):
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    role: Role = Role.MEMBER
    expires_in_seconds: Annotated[int, Field(ge=1, le=MAX_LIFETIME, strict=True)] | None = None


class ApiKeyObject(Identified):
    """A key belongs to its project and to nobody in it, so `owner` is empty."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    role: Role
    created_at: int
    expires_at: int | None
    redacted_value: str
    owner: dict[str, Any] = Field(default_factory=dict)
    owner_project_access: Literal["active"] = "active"

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyObject":
        return cls(
            id=key.id,
            name=key.name,
            role=Role(key.role),
            created_at=unix_seconds(key.created_at),
            expires_at=unix_seconds(key.expires_at) if key.expires_at else None,
            redacted_value=f"tnr_{key.id}_…",
        )


class NewApiKey(ApiKeyObject):
    """The only answer that holds the key itself."""

    value: str


class ApiKeyDeleted(BaseModel):
    id: str
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    deleted: Literal[True] = True


class AuditActor(BaseModel):
    type: Literal["api_key", "operator"]
    api_key: Identified | None


class AuditLogObject(Identified):
    """`type` is the thing and what was done to it, `resource_id` the thing."""

    object: Literal["organization.audit_log"] = "organization.audit_log"
    type: str
    effective_at: int
    actor: AuditActor
    project: Identified
    resource_id: str
    details: dict[str, Any] | None
    request_id: str | None

    @classmethod
    def of(cls, entry: AuditLog) -> "AuditLogObject":
        key = Identified(id=entry.key_id) if entry.key_id else None
        return cls(
            id=entry.id,
            type=entry.action,
            effective_at=unix_seconds(entry.created_at),
            actor=AuditActor(type="api_key" if key else "operator", api_key=key),
            project=Identified(id=entry.project_id),
            resource_id=entry.resource_id,
            details=entry.details,
            request_id=entry.request_id,
        )


class UsageResult(BaseModel):
    """Of jobs that train together, each counts its whole time on the device."""

    object: Literal["organization.usage.fine_tuning.result"] = "organization.usage.fine_tuning.result"
    project_id: str
    trained_tokens: int
    device_seconds: float


class UsageBucket(BaseModel):
    """A day in UTC, and what each project used on it."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]


class UsagePage(BaseModel):
    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: Literal[False] = False
    next_page: None = None
