"""The hosts to which a stored secret may be sent.

An administrator may bind a secret to hosts. A secret that is bound to none goes only where the operator has
sent this installation: to the hub, to the trackers, and to AWS. So no member of a project can have it sent to
a host of their own.
"""

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from core.exports.destinations import Destination, HubDestination

if TYPE_CHECKING:  # settings import this, and the command line imports them: no database there
    from core.tables import Secret

MOST_HOSTS = 32
HUB = "https://huggingface.co"
WANDB = "https://api.wandb.ai"
AWS = "s3.amazonaws.com"  # stands for the stores of AWS in all regions
NOT_FOR_HOST = "secret_not_for_host"  # the code of the error


# A host without port and path; `*.` before it stands for all hosts below it
Host = Annotated[
    str,
    StringConstraints(
        max_length=255, to_lower=True, pattern=r"^(\*\.)?([A-Za-z0-9_][A-Za-z0-9._-]*)?[A-Za-z0-9]$"
    ),
]
Hosts = Annotated[list[Host], Field(min_length=1, max_length=MOST_HOSTS)]


class Receiver(NamedTuple):
    """A host that would get a secret, and whether a request has named it."""

    host: str
    named_by_request: bool = False


def of_export(destination: Destination) -> Receiver:
    """Return the host to which an export is pushed."""
    if isinstance(destination, HubDestination):
        return _of_operator(os.environ.get("HF_ENDPOINT") or HUB)
    if destination.endpoint_url is None:
        return Receiver(AWS)
    return Receiver(urlsplit(destination.endpoint_url).hostname or "", named_by_request=True)


def of_wandb() -> Receiver:
    """Return the host of Weights & Biases."""
    return _of_operator(os.environ.get("WANDB_BASE_URL") or WANDB)


def of_mlflow(tracking_uri: str) -> Receiver | None:
    """Return the host of an MLflow server that the operator offers; None for files and databases."""
    return _of_operator(tracking_uri) if tracking_uri.startswith(("http://", "https://")) else None


def refusal(secret: "Secret", to: Receiver) -> str | None:
    """Return why the secret may not be sent to this host, or None if it may."""
    if secret.hosts is None:
        allowed = not to.named_by_request
    else:
        allowed = any(_covers(each, to.host) for each in secret.hosts)
    if allowed:
        return None
    return (
        f"The secret {secret.name} is not bound to the host {to.host}. An administrator of the project can "
        f"bind it: `tunery secrets set {secret.name} --host {to.host}`."
    )


def _of_operator(url: str) -> Receiver:
    return Receiver(urlsplit(url).hostname or "")


def _covers(bound: str, host: str) -> bool:
    return host == bound or (bound.startswith("*.") and host.endswith(bound[1:]))
