"""The arguments of endpoints: the request's transaction, and the components that `create_app` built."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from core.catalog import Catalog
from core.datasets.images import ImageCheck
from core.egress import Egress
from core.jobs.dispatch import HintSender
from core.secrets.vault import Vault
from core.settings import Settings
from core.storage.object_store import ObjectStore


def _transaction(request: Request) -> Iterator[Session]:
    """Yield the request's one transaction. Its scope is the endpoint, so it commits before the response."""
    with request.app.state.sessions.begin() as session:
        yield session


def component(name: str) -> Callable[[Request], Coroutine[Any, Any, Any]]:
    """Return a dependency that gives an endpoint the component `app.state.<name>`."""

    async def component_of_app(request: Request) -> Any:
        return getattr(request.app.state, name)

    return component_of_app


Transaction = Annotated[Session, Depends(_transaction, scope="function")]
AppSettings = Annotated[Settings, Depends(component("settings"))]
Sessions = Annotated[sessionmaker[Session], Depends(component("sessions"))]
ReadingSessions = Annotated[sessionmaker[Session], Depends(component("reading_sessions"))]
ReadingThreads = Annotated[CapacityLimiter, Depends(component("reading_threads"))]
ComparingThreads = Annotated[CapacityLimiter, Depends(component("comparing_threads"))]
UploadThreads = Annotated[CapacityLimiter, Depends(component("upload_threads"))]
Images = Annotated[ImageCheck, Depends(component("images"))]
Store = Annotated[ObjectStore, Depends(component("store"))]
Hints = Annotated[HintSender, Depends(component("hint_sender"))]
ModelCatalog = Annotated[Catalog, Depends(component("catalog"))]
Secrets = Annotated[Vault, Depends(component("vault"))]
Outgoing = Annotated[Egress, Depends(component("egress"))]
