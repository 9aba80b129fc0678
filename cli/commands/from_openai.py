"""`tunery from-openai`: copies the training files and the settings of jobs from an account at OpenAI.

It reads the account by the official client. Run again, it copies and creates only what is not here yet.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, without_none
from cli.client.connection import connected
from cli.client.errors import CommandError, Refused
from core.errors import ConfigurationError
from core.objectives import NAMES

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

OPENAI = "https://api.openai.com/v1"
PURPOSE = "fine-tune"
ORIGIN = "openai_job"  # the key in a job's metadata that names the job at OpenAI
MOST_METADATA = 16
IN_MEMORY = 16 * 1024**2  # bytes of a file that are not yet written to the disk
# A learning rate for another model would mislead, and so would the cost of its answers
HYPERPARAMETERS = ("n_epochs", "batch_size", "beta", "eval_interval", "eval_samples")
BESIDE_HYPERPARAMETERS = ("grader", "response_format")


class NotCopied(Exception):
    """A file or a job cannot be copied; str() says why."""


@connected
def from_openai(
    client: Client,
    _json: bool,
    model: Annotated[str, typer.Option(help="The base model here that takes the place of OpenAI's")],
    create: Annotated[
        bool, typer.Option("--create", help="Create the jobs, not only print their requests")
    ] = False,
    source_url: Annotated[  # not OPENAI_BASE_URL: whoever moves here has it lead here
        str, typer.Option(help="The address of the account's API")
    ] = OPENAI,
    source_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="The account's key. Set the variable instead")
    ] = "",
) -> None:
    """Copy training files from OpenAI, and print the requests of its succeeded jobs, one on each line.

    A request names the files here and MODEL. It has the job's method, epochs, batch size, seed, suffix and
    metadata, but not its learning rate. With --create, the jobs are created, and printed as JSON.
    """
    client.get(f"/models/{model}")  # before anything is copied
    with _answering(source_url):
        _copy_account(FileCopies(_source(source_url, source_key), client), model, create)


def _copy_account(files: "FileCopies", model: str, create: bool) -> None:
    files.copy_all()
    made = _made_before(files.client)
    for job in files.source.fine_tuning.jobs.list():
        if job.id in made:
            output.note(f"{job.id} is here already")
            continue
        try:
            request = request_of(job, model, files)
            output.json(files.client.post("/fine_tuning/jobs", request) if create else request)
        except (NotCopied, Refused) as error:
            output.note(f"{job.id} is not copied: {error}", "yellow")


@dataclass
class FileCopies:
    """Copies files once each, and knows the ids of the copies."""

    source: "OpenAI"
    client: Client
    _ids: dict[str, str] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        listed = self.client.every("/files", purpose=PURPOSE)
        self._here = {(file["filename"], file["sha256"]): file["id"] for file in listed}

    def copy_all(self) -> None:
        """Copy the account's training files. What cannot be copied is named on stderr."""
        for file in self.source.files.list(purpose=PURPOSE):
            try:
                self.id_of(file.id)
            except NotCopied as error:
                output.note(f"{error}", "yellow")

    def id_of(self, source_id: str) -> str:
        """Return the id of the copy, which is made if it is not there. Raises NotCopied."""
        if source_id in self._failed:
            raise NotCopied(self._failed[source_id])
        if source_id not in self._ids:
            try:
                self._ids[source_id] = self._copy(source_id)
            except NotCopied as error:
                self._failed[source_id] = str(error)
                raise
        return self._ids[source_id]

    def _copy(self, source_id: str) -> str:
        from httpx2 import HTTPError
        from openai import OpenAIError

        try:
            name = output.printable(self.source.files.retrieve(source_id).filename)
            with SpooledTemporaryFile(IN_MEMORY) as content:
                digest = self._download(source_id, content)
                if (name, digest) in self._here:
                    output.note(f"{name} ({source_id}) is here already")
                    return str(self._here[name, digest])
                copy = self.client.upload(name, content, PURPOSE)
        except (OpenAIError, HTTPError) as error:  # HTTPError: in the middle of a download
            raise NotCopied(f"the file {source_id} cannot be read: {error}") from error
        except Refused as error:
            raise NotCopied(f"the file {name} ({source_id}) is refused here: {error}") from error
        self._here[name, digest] = copy["id"]
        output.note(f"Copied {name} ({source_id}) as {copy['id']}")
        return str(copy["id"])

    def _download(self, source_id: str, to: IO[bytes]) -> str:
        """Write the content to `to`, leave it at its begin, and return its SHA-256."""
        digest = sha256()
        with self.source.files.with_streaming_response.content(source_id) as answer:
            for chunk in answer.iter_bytes():
                digest.update(chunk)
                to.write(chunk)
        to.seek(0)
        return digest.hexdigest()


def request_of(job: "FineTuningJob", model: str, files: FileCopies) -> dict[str, Any]:
    """Return the request that creates the same kind of job here. Raises NotCopied."""
    if job.status != "succeeded":
        raise NotCopied(f"it is {job.status}")
    shown = job.to_dict()
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", str(shown.get("user_provided_suffix") or ""))
    metadata = dict(list((job.metadata or {}).items())[: MOST_METADATA - 1])
    return without_none(
        model=model,
        training_file=files.id_of(job.training_file),
        validation_file=files.id_of(job.validation_file) if job.validation_file else None,
        suffix=suffix.strip("-") or None,
        seed=job.seed % 2**31,
        metadata={**metadata, ORIGIN: job.id},
        method=_method(shown),
    )


def _method(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job's method with the hyperparameters that mean the same here. Raises NotCopied."""
    method = job.get("method") or {"type": "supervised"}
    kind = str(method["type"])
    if kind not in NAMES:
        raise NotCopied(f"its method is {kind}, which does not exist here")
    options = method.get(kind) or {}
    given = options.get("hyperparameters") or job.get("hyperparameters") or {}
    kept = {name: given[name] for name in HYPERPARAMETERS if given.get(name) is not None}
    beside = {name: options[name] for name in BESIDE_HYPERPARAMETERS if options.get(name) is not None}
    return {"type": kind, kind: {**beside, "hyperparameters": kept}}


def _made_before(client: Client) -> set[str]:
    """Return the ids at OpenAI of the jobs that were created here from them, and have not come to nothing."""
    jobs: Iterator[dict[str, Any]] = client.every("/fine_tuning/jobs")
    kept = (job for job in jobs if job["status"] not in ("failed", "cancelled"))
    return {job["metadata"][ORIGIN] for job in kept if ORIGIN in (job.get("metadata") or {})}


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """Turn the official client's errors into the command's. Raises ConfigurationError if it is absent."""
    try:
        from httpx2 import HTTPError
        from openai import OpenAIError
    except ImportError as error:
        raise ConfigurationError("This command needs OpenAI's client: pip install 'openai>=3,<4'") from error
    try:
        yield
    except (OpenAIError, HTTPError) as error:
        raise CommandError(f"The account at {url} does not answer: {error}") from error


def _source(url: str, key: str) -> "OpenAI":
    """Return the official client of the account, once it has answered. Raises ConfigurationError."""
    from openai import OpenAI

    if not key:
        raise ConfigurationError("No key for OpenAI: set OPENAI_API_KEY")
    source = OpenAI(base_url=url, api_key=key)
    source.files.list(limit=1)
    return source
