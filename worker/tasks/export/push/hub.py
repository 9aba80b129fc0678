"""Pushes files to a repository of the hub, as one commit.

`HF_ENDPOINT` names the hub, as for the download of base models. The token is the project's, never the
worker's own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, set_client_factory
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import default_client_factory

from core.errors import JobError, OutsideFault
from core.exports.destinations import HubDestination
from worker.tasks.export.push.progress import Progress
from worker.tasks.export.push.reasons import shortened

SECONDS = 300.0  # without a byte from the hub or to it; the library itself would wait for ever
TRY_AGAIN = (409, 412, 429)  # another commit was faster, or there were too many requests


def push_to_hub(
    files: Sequence[Path], destination: HubDestination, token: str, title: str, progress: Progress
) -> dict[str, Any]:
    """Commit the files, and return where they are.

    Files that the repository has already are not committed again. Raises JobError and OutsideFault.
    """
    name = destination.repository
    set_client_factory(_impatient_client)
    api = HfApi(token=token)
    with _explained(destination, token):
        api.create_repo(name, private=destination.private, exist_ok=True)
        if destination.private and not api.repo_info(name).private:
            raise JobError(
                "repository_public",
                f"The repository {name} is public. Send 'private': false if everybody may read the files.",
                "destination.private",
            )
        if destination.revision is not None:
            api.create_branch(name, branch=destination.revision, exist_ok=True)
        additions = [CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
        for path, addition in zip(files, additions, strict=True):  # one by one, to see how far it is
            api.preupload_lfs_files(name, [addition], revision=destination.revision)
            progress.add(path.stat().st_size)
        commit = api.create_commit(name, additions, commit_message=title, revision=destination.revision)
    return {"type": "hub", "url": commit.commit_url, "commit": commit.oid, "objects": len(files)}


def _impatient_client() -> Any:
    client = default_client_factory()
    client.timeout = SECONDS
    return client


@contextmanager
def _explained(destination: HubDestination, token: str) -> Iterator[None]:
    """Raise JobError or OutsideFault instead of the errors of the hub's library."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        reason = "The worker does not talk to the hub: its operator has set HF_HUB_OFFLINE."
        raise JobError("push_failed", reason, "destination.type") from error
    except HfHubHTTPError as error:
        raise _refusal(error, destination, token) from None
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise OutsideFault(f"The hub did not answer ({type(error).__name__})") from error
    except HFValidationError as error:
        raise JobError("push_refused", str(error), "destination.repository") from error
    except (RuntimeError, ValueError, LookupError) as error:  # of an upload whose answer is none of a hub
        reason = _without(token, f"The hub did not take the files: {error}")
        raise JobError("push_failed", reason, "destination") from None


def _refusal(error: HfHubHTTPError, destination: HubDestination, token: str) -> JobError | OutsideFault:
    """Return the reason why the hub refused a request."""
    status = error.response.status_code
    if status in TRY_AGAIN or status >= 500:
        return OutsideFault(f"The hub answered {status}")
    name, secret = destination.repository, destination.secret
    if status == 401:
        return JobError(
            "push_refused",
            f"The hub does not know the token in the secret {secret}, or it has expired. Store a valid one.",
            "destination.secret",
        )
    if isinstance(error, RevisionNotFoundError):
        reason = f"The repository {name} has no branch {destination.revision or 'main'}."
        return JobError("push_refused", reason, "destination.revision")
    if status in (403, 404):
        return JobError(
            "push_refused",
            f"The token in the secret {secret} may not write to {name}. Check both.",
            "destination.repository",
        )
    said = _without(token, error.server_message or str(error))
    return JobError("push_refused", f"The hub answered {status}: {said}", "destination.repository")


def _without(token: str, text: str) -> str:
    return shortened(text.replace(token, "***"))
