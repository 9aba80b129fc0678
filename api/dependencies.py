"""The arguments that endpoints take: the request's transaction, and the parts that `create_app` built."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from core.catalog import Catalog
from core.egress import Egress
from core.jobs.dispatch import HintSender
from core.secrets.vault import Vault
from core.settings import Settings
from core.storage.object_store import ObjectStore


def _transaction(request: Request) -> Iterator[Session]:
    """Yield the request's one transaction. Its scope is the endpoint, so it commits before the response."""
    with request.app.state.sessions.begin() as session:
        yield session


def part(name: str) -> Callable[[Request], Coroutine[Any, Any, Any]]:
    """Return a dependency that gives an endpoint the part `app.state.<name>`."""

    async def part_of_app(request: Request) -> Any:
        return getattr(request.app.state, name)

    return part_of_app


Transaction = Annotated[Session, Depends(_transaction, scope="function")]
AppSettings = Annotated[Settings, Depends(part("settings"))]
Sessions = Annotated[sessionmaker[Session], Depends(part("sessions"))]
ReadingSessions = Annotated[sessionmaker[Session], Depends(part("reading_sessions"))]
ReadingThreads = Annotated[CapacityLimiter, Depends(part("reading_threads"))]
ComparingThreads = Annotated[CapacityLimiter, Depends(part("comparing_threads"))]
UploadThreads = Annotated[CapacityLimiter, Depends(part("upload_threads"))]
Store = Annotated[ObjectStore, Depends(part("store"))]
Hints = Annotated[HintSender, Depends(part("hint_sender"))]
ModelCatalog = Annotated[Catalog, Depends(part("catalog"))]
Secrets = Annotated[Vault, Depends(part("vault"))]
Outgoing = Annotated[Egress, Depends(part("egress"))]
