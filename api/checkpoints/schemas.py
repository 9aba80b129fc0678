"""Permissions of checkpoints, in OpenAI's form."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Deleted, Identified, UnixSeconds


class CreatePermissions(BaseModel):
    model_config = ConfigDict(strict=True)

    project_ids: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        Field(min_length=1, max_length=100, description="The ids of the projects to share with"),
    ]


class PermissionObject(Identified):
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: UnixSeconds
    project_id: Annotated[str, Field(description="The project that the model or checkpoint is shared with")]


class PermissionDeleted(Deleted):
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
