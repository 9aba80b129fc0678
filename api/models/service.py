"""The base models of the catalog, and what the project made of them."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.models.schemas import ModelObject
from core.catalog import Catalog
from core.errors import NotFound
from core.models import Job, Project


def list_all(session: Session, project_id: str, catalog: Catalog) -> list[ModelObject]:
    query = _fine_tuned(project_id).order_by(Job.id.desc())
    return [
        *(ModelObject.of_base(entry) for entry in catalog),
        *(ModelObject.of_job(job, project) for job, project in session.execute(query)),
    ]


def get(session: Session, project_id: str, catalog: Catalog, model_id: str) -> ModelObject:
    """Raises NotFound, also for a model of another project."""
    entry = catalog.get(model_id)
    if entry is not None:
        return ModelObject.of_base(entry)
    found = session.execute(_fine_tuned(project_id).where(Job.fine_tuned_model == model_id)).one_or_none()
    if found is None:
        raise NotFound(f"The model '{model_id}' does not exist", code="model_not_found", param="model")
    return ModelObject.of_job(*found)


def _fine_tuned(project_id: str) -> Select[Job, str]:
    return (
        select(Job, Project.name)
        .join(Project, Project.id == Job.project_id)
        .where(Job.project_id == project_id, Job.status == "succeeded")
    )
