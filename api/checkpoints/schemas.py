"""Permissions in OpenAI's shape."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Identified, unix_seconds
from core.tables import CheckpointPermission


class CreatePermissions(BaseModel):
    model_config = ConfigDict(strict=True)

    project_ids: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        Field(min_length=1, max_length=100, description="The projects that may see it"),
    ]


class PermissionObject(Identified):
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str

    @classmethod
    def of(cls, permission: CheckpointPermission) -> "PermissionObject":
        return cls(
            id=permission.id,
            created_at=unix_seconds(permission.created_at),
            project_id=permission.project_id,
        )


class PermissionDeleted(BaseModel):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: Literal[True] = True
