"""The request with which a browser signs in, and the session that it reads."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.schemas import unix_seconds
from core.roles import Role
from core.tables import ApiKey, Project

Credential = Annotated[SecretStr, Field(min_length=1, max_length=256)]


class SignIn(BaseModel):
    """Send one of the two."""

    model_config = ConfigDict(extra="forbid")

    api_key: Annotated[Credential | None, Field(description="The API key that the session acts for")] = None
    link: Annotated[Credential | None, Field(description="The secret of a sign-in link. It works once")] = (
        None
    )


class ShowLink(BaseModel):
    model_config = ConfigDict(extra="forbid")

    link: Annotated[Credential, Field(description="The secret of a sign-in link. The link stays valid")]


class SessionProject(BaseModel):
    id: str
    name: str

    @classmethod
    def of(cls, project: Project) -> "SessionProject":
        return cls(id=project.id, name=project.name)


class SessionObject(BaseModel):
    """The project, the role and the API key that a session or a request acts for."""

    object: Literal["session"] = "session"
    project: SessionProject
    role: str
    key_name: str
    is_operator: Annotated[
        bool,
        Field(description="Whether it may do what only the operator may: an admin key of its project"),
    ]
    expires_at: Annotated[
        int | None,
        Field(description="The end of the session in Unix seconds. Null if the request has an API key"),
    ]
    sign_on_projects: Annotated[
        list[SessionProject] | None,
        Field(description="The projects of the person who has signed on. Null if it acts for an API key"),
    ] = None

    @classmethod
    def of(
        cls,
        key: ApiKey,
        operator_project: str,
        expires_at: datetime | None,
        projects: Iterable[Project] | None = None,
    ) -> "SessionObject":
        of_person = None if projects is None else [SessionProject.of(project) for project in projects]
        return cls(
            project=SessionProject.of(key.project),
            role=key.role,
            key_name=key.name,
            is_operator=key.role == Role.ADMIN and key.project.name == operator_project,
            expires_at=None if expires_at is None else unix_seconds(expires_at),
            sign_on_projects=of_person,
        )


class LinkedKey(BaseModel):
    """The project, the role and the API key that a session would act for. `expires_at` is the link's end."""

    object: Literal["sign_in_link.key"] = "sign_in_link.key"
    project: SessionProject
    role: str
    key_name: str
    expires_at: int

    @classmethod
    def of(cls, key: ApiKey, expires_at: datetime) -> "LinkedKey":
        return cls(
            project=SessionProject.of(key.project),
            role=key.role,
            key_name=key.name,
            expires_at=unix_seconds(expires_at),
        )


class SignInLink(BaseModel):
    """A link that begins a session. Append `path` to the address of the API to open it in a browser.

    Its secret is the part after `#`, which a browser does not send, so that no server logs it. `expires_at`
    is in Unix seconds.
    """

    object: Literal["sign_in_link"] = "sign_in_link"
    path: str
    expires_at: int
