"""Where an export may be pushed to: a repository of the hub, or a prefix of an S3 bucket."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from core.options import SecretName


def _hub_name(repository: str) -> str:
    """Return the name of a repository. Raises ValueError for names that the hub refuses."""
    if "--" in repository or ".." in repository or repository.endswith((".git", ".ipynb")):
        raise ValueError("a repository's name has no '--' and no '..', and does not end with .git or .ipynb")
    return repository


def _plain_path(prefix: str) -> str:
    """Return the prefix without slashes at its end. Raises ValueError for parts that mean other folders."""
    if any(part in ("", ".", "..") for part in prefix.rstrip("/").split("/")) and prefix:
        raise ValueError("a prefix does not begin with '/', and has no empty part and no '.' or '..'")
    return prefix.rstrip("/")


HUB_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
Repository = Annotated[str, StringConstraints(pattern=f"^{HUB_PART}/{HUB_PART}$"), AfterValidator(_hub_name)]
Prefix = Annotated[
    str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9!_.*'()=+@/-]*$"), AfterValidator(_plain_path)
]


class DestinationOptions(BaseModel):
    """What all destinations have in common: a type, and no unknown option."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class HubDestination(DestinationOptions):
    """A repository of the Hugging Face hub. The operator chooses the hub (`HF_ENDPOINT`)."""

    type: Literal["hub"]
    repository: Repository
    """Repository, such as org/name. It is created if it is missing"""
    secret: SecretName
    """Name of the project's secret that holds a token of the hub, which may write"""
    private: bool = True
    """True: only a private repository gets the files. False: a new repository is public"""
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """Branch that gets the commit. It is created if it is missing; null is `main`"""


class S3Destination(DestinationOptions):
    """A prefix of a bucket, in AWS or in another store that speaks S3."""

    type: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Bucket. It must exist"""
    prefix: Prefix = ""
    """Beginning of the objects' keys, such as models/support; empty is the top of the bucket"""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    """Region of the bucket; null is us-east-1"""
    endpoint_url: Annotated[str, Field(max_length=2048)] | None = None
    """Address of the store, such as https://s3.example.com; null is AWS"""
    secret: SecretName
    """Name of the project's secret that holds the key, as ACCESS_KEY_ID:SECRET_ACCESS_KEY. A session token
    may follow after another colon"""


Destination = Annotated[HubDestination | S3Destination, Field(discriminator="type")]
