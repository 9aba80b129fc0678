"""The state of the service."""

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The state of each part of the service: "ok", or what is wrong with it."""

    status: Literal["ready", "not ready"]
    database: str
    migrations: str
    broker: str
    storage: str
