"""Models in OpenAI's shape."""

from typing import Literal

from pydantic import BaseModel

from api.schemas import unix_seconds
from core.catalog import BaseModelEntry
from core.models import Job


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str

    @classmethod
    def of_base(cls, entry: BaseModelEntry) -> "ModelObject":
        return cls(id=entry.id, created=entry.created, owned_by=entry.repository.split("/")[0])

    @classmethod
    def of_job(cls, job: Job, project_name: str) -> "ModelObject":
        name, finished_at = job.fine_tuned_model, job.finished_at
        if name is None or finished_at is None:
            raise AssertionError(f"{job.id} has not succeeded")
        return cls(id=name, created=unix_seconds(finished_at), owned_by=project_name)


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]
