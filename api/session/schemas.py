"""Signing in, as the dashboard does it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.schemas import unix_seconds
from core.tables import ApiKey

Token = Annotated[SecretStr, Field(min_length=1, max_length=256)]


class SignIn(BaseModel):
    """One of the two."""

    model_config = ConfigDict(extra="forbid")

    api_key: Annotated[Token | None, Field(description="A key; the session acts for it")] = None
    link: Annotated[Token | None, Field(description="The token of a sign-in link; it works once")] = None


class SessionProject(BaseModel):
    id: str
    name: str


class SessionObject(BaseModel):
    """Whom a session, or a key, acts for."""

    object: Literal["session"] = "session"
    project: SessionProject
    role: str
    key_name: str
    expires_at: Annotated[int | None, Field(description="Unix seconds; null for a key")]

    @classmethod
    def of(cls, key: ApiKey, expires_at: datetime | None) -> "SessionObject":
        return cls(
            project=SessionProject(id=key.project.id, name=key.project.name),
            role=key.role,
            key_name=key.name,
            expires_at=None if expires_at is None else unix_seconds(expires_at),
        )


class SignInLink(BaseModel):
    """`path` belongs behind the API's address. Its token stands behind `#`, so that no server logs it."""

    object: Literal["sign_in_link"] = "sign_in_link"
    path: str
    expires_at: int
