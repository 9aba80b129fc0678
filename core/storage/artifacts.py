"""Folders in the object store (adapters and checkpoints), whose files have a name, a size and a SHA-256.

A folder is only valid once the database has the list of its files. An object that is in no list is an orphan.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import OutsideFault, TuneryError
from core.storage.object_store import ObjectStore

WEIGHTS_NAME = "adapter_model.safetensors"

# The files of a checkpoint that only a trainer needs, to continue the job; clients do not get them.
STATE_NAME = "training_state.safetensors"
POSITION_NAME = "position.json"


class DamagedArtifact(TuneryError):
    """A stored file is missing, or differs from the file that was published."""


@dataclass(frozen=True)
class Artifact:
    """One file of a folder. `bytes` is its size; `sha256` is its hash in hexadecimal digits."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Artifact":
        """Return the description of a local file."""
        with path.open("rb") as file:
            return cls(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def publish_folder(store: ObjectStore, folder: Path, prefix: str) -> list[dict[str, Any]]:
    """Upload every file of `folder`, read each one back, and return their list: [{name, bytes, sha256}].

    A file that reads back differently is uploaded again. Raises OutsideFault if it differs again.
    """
    artifacts = [Artifact.of(path) for path in sorted(folder.iterdir())]
    for artifact in artifacts:
        try:
            _upload(store, folder, prefix, artifact)
        except DamagedArtifact:
            _upload_again(store, folder, prefix, artifact)
    return [asdict(artifact) for artifact in artifacts]


def fetch_folder(store: ObjectStore, prefix: str, files: list[dict[str, Any]], folder: Path) -> None:
    """Download `files` into `folder`. A file that is missing or different is downloaded a second time.

    Raises DamagedArtifact if the second download fails too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in [Artifact(**entry) for entry in files]:
        try:
            _verify(store, prefix, artifact, folder)
        except DamagedArtifact:
            _verify(store, prefix, artifact, folder)


def _upload(store: ObjectStore, folder: Path, prefix: str, artifact: Artifact) -> None:
    store.put_file(prefix + artifact.name, folder / artifact.name)
    _verify(store, prefix, artifact)


def _upload_again(store: ObjectStore, folder: Path, prefix: str, artifact: Artifact) -> None:
    try:
        _upload(store, folder, prefix, artifact)
    except DamagedArtifact as error:
        raise OutsideFault(f"The object store did not keep what was sent: {error}") from error


def _verify(store: ObjectStore, prefix: str, artifact: Artifact, into: Path | None = None) -> None:
    """Read the object and compare its hash; write the object to the folder `into`, if one is given.

    Raises DamagedArtifact if the object is missing or its hash differs.
    """
    digest = hashlib.sha256()
    try:
        chunks = store.read(prefix + artifact.name)
    except FileNotFoundError as error:
        raise DamagedArtifact(f"{artifact.name} is missing") from error
    sink = (into / artifact.name).open("wb") if into else None
    try:
        for chunk in chunks:
            digest.update(chunk)
            if sink:
                sink.write(chunk)
    finally:
        if sink:
            sink.close()
    if digest.hexdigest() != artifact.sha256:
        raise DamagedArtifact(f"{artifact.name} is not the file that was published (SHA-256 differs)")
