"""The settings of sign-on: which OpenID provider says who a person is, and what its groups may do."""

import json
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode

from core.roles import Role

GroupName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
CALLBACK_PATH = "/v1/sign_on/callback"  # at which the provider sends browsers back
# A project's name is a part of its fine-tuned models' names. Colons separate the parts, so it has none.
PROJECT_NAME = r"^[A-Za-z0-9._-]{1,64}$"
ProjectName = Annotated[str, StringConstraints(pattern=PROJECT_NAME)]


def is_project_name(name: str) -> bool:
    """Return whether a project may have this name."""
    return re.fullmatch(PROJECT_NAME, name) is not None


def is_loopback(url: str) -> bool:
    """Return whether the address is on this very machine, so that nobody in the network reads along."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class SignOnFields(BaseSettings):
    """The settings with which people sign on by an OpenID provider."""

    sign_on_issuer: str | None = Field(
        None,
        pattern=r"^(https://[^\s?#]+|http://(127\.0\.0\.1|localhost)(:\d+)?(/[^\s?#]*)?)$",
        description="OpenID provider by which people sign on, such as https://login.example.com: the "
        "`issuer` of its discovery document. It also needs TUNERY_SIGN_ON_CLIENT_ID, "
        "TUNERY_SIGN_ON_GROUPS and TUNERY_PUBLIC_URL",
    )
    sign_on_client_id: str | None = Field(None, description="The id under which the provider knows Tunery")
    sign_on_client_secret: SecretStr | None = Field(
        None, description="The secret that the provider has given to Tunery. A public client has none"
    )
    sign_on_name: str = Field(
        "single sign-on", max_length=64, description="Name of the provider on the page: *Sign in with …*"
    )
    sign_on_groups: Annotated[dict[GroupName, dict[ProjectName, Role]], NoDecode] = Field(
        {},
        description="What each group of the provider may do, as JSON: "
        '`{"ml-team": {"research": "member"}, "ml-leads": {"research": "admin"}}`',
    )
    sign_on_groups_claim: str = Field(
        "groups", description="Claim in which the provider lists the groups of a person"
    )
    sign_on_scopes: str | None = Field(
        None,
        pattern=r"^(\S+ )*openid( \S+)*$",
        description="Scopes for which the provider is asked, separated by spaces. Without it, they are "
        "`openid profile email`, and `groups` where the provider's discovery document has this scope",
    )
    sign_on_hours: float = Field(
        8,
        gt=0,
        le=168,
        description="Hours after which a person signs on again. Groups are read only then, so a person who "
        "has left a group loses access after at most this time",
    )
    sign_on_only: bool = Field(
        False,
        description="Refuse to begin a browser's session by an API key or a link, so that people have to "
        "sign on. Programs use API keys all the same",
    )

    @field_validator("sign_on_groups", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is no JSON: {error}") from None
