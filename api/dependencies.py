"""What endpoints are handed: the request's transaction, and the parts that `create_app` built."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from core.catalog import Catalog
from core.egress import Egress
from core.jobs.dispatch import Doorbell
from core.secrets.vault import Vault
from core.settings import Settings
from core.storage.object_store import ObjectStore


def _transaction(request: Request) -> Iterator[Session]:
    """One request, one transaction. Being of function scope, it commits before the response is sent."""
    with request.app.state.sessions.begin() as session:
        yield session


def _part(name: str) -> Callable[[Request], Coroutine[Any, Any, Any]]:
    async def part_of_app(request: Request) -> Any:
        return getattr(request.app.state, name)

    return part_of_app


Transaction = Annotated[Session, Depends(_transaction, scope="function")]
AppSettings = Annotated[Settings, Depends(_part("settings"))]
Sessions = Annotated[sessionmaker[Session], Depends(_part("sessions"))]
ReadingSessions = Annotated[sessionmaker[Session], Depends(_part("reading_sessions"))]
UploadThreads = Annotated[CapacityLimiter, Depends(_part("upload_threads"))]
Store = Annotated[ObjectStore, Depends(_part("store"))]
Bell = Annotated[Doorbell, Depends(_part("doorbell"))]
ModelCatalog = Annotated[Catalog, Depends(_part("catalog"))]
Secrets = Annotated[Vault, Depends(_part("vault"))]
Outgoing = Annotated[Egress, Depends(_part("egress"))]
