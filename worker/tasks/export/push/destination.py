"""Pushes the files of an export to its destination, once they are in our own store."""

from pathlib import Path
from typing import Any

from core.egress import Egress
from core.errors import JobError
from core.exports.destinations import Destination, HubDestination
from core.secrets.hosts import NOT_FOR_HOST, of_export, refusal
from core.secrets.vault import UnreadableSecret, Vault
from core.storage.file_names import MANIFEST
from core.tables import Secret
from worker.tasks.export.push.hub import push_to_hub
from worker.tasks.export.push.progress import Progress
from worker.tasks.export.push.s3 import push_to_s3
from worker.tasks.frame.work import Work

BEGUN, PUSHED = 0.97, 0.99  # of the whole task


def push_export(work: Work, folder: Path) -> dict[str, Any]:
    """Push the files, if the client has named a destination, and return what the report says about it.

    Raises JobError if the destination refuses them, and OutsideFault if it does not answer.
    """
    destination: Destination | None = work.request.destination
    if destination is None:
        return {}
    work.progress("pushing", BEGUN)
    secret = _secret(work, destination)
    files = sorted(folder.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    progress = Progress(
        lambda share: work.progress("pushing", BEGUN + (PUSHED - BEGUN) * share),
        total=sum(path.stat().st_size for path in files),
    )
    if isinstance(destination, HubDestination):
        return {"push": push_to_hub(files, destination, secret, _title(work), progress)}
    egress = Egress(work.settings.egress_allow)
    return {"push": push_to_s3(files, destination, secret, egress, progress)}


def _secret(work: Work, destination: Destination) -> str:
    """Return the value of the project's secret. Raises JobError, also if it is not for this destination."""
    with work.sessions() as session:
        secret = session.get(Secret, (work.task.project_id, destination.secret))
    if secret is None:
        raise _unusable("secret_not_found", f"The project has no secret {destination.secret} any more.")
    if (reason := refusal(secret, of_export(destination))) is not None:
        raise _unusable(NOT_FOR_HOST, reason)
    try:
        value = Vault.of(work.settings.secret_keys).open(secret.sealed).strip()
    except UnreadableSecret as error:
        reason = f"The worker cannot decrypt the secret {destination.secret}; its operator must check"
        raise _unusable("secrets_unreadable", f"{reason} TUNERY_SECRET_KEYS.") from error
    if not (value.isascii() and value.isprintable()) or " " in value:
        reason = f"The secret {destination.secret} has characters that no token or key has. Store it again."
        raise _unusable("secret_malformed", reason)
    return value


def _unusable(code: str, reason: str) -> JobError:
    return JobError(code, reason, "destination.secret")


def _title(work: Work) -> str:
    return f"Add {work.task.id} of {work.task.adapter_id}"
