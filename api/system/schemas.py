"""How the service is."""

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each part with "ok", or what is wrong with it."""

    status: Literal["ready", "not ready"]
    database: str
    migrations: str
    broker: str
    storage: str
