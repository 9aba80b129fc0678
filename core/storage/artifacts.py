"""Folders of files in the object store, each with its SHA-256: adapters and checkpoints.

A folder counts only once its list of files stands in the database; objects without one are orphans.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import OutsideFault, TuneryError
from core.storage.object_store import ObjectStore

# Of a checkpoint: what only a trainer goes on from, and clients do not get.
STATE_NAME = "training_state.safetensors"
POSITION_NAME = "position.json"


class DamagedArtifact(TuneryError):
    """A stored file is missing, or is not the one that was published."""


@dataclass(frozen=True)
class Artifact:
    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Artifact":
        with path.open("rb") as file:
            return cls(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def publish_folder(store: ObjectStore, folder: Path, prefix: str) -> list[dict[str, Any]]:
    """Upload every file of `folder` and read each back. Returns [{name, bytes, sha256}].

    Raises OutsideFault where the store gives back something else than was sent, twice.
    """
    artifacts = [Artifact.of(path) for path in sorted(folder.iterdir())]
    for artifact in artifacts:
        try:
            _upload(store, folder, prefix, artifact)
        except DamagedArtifact:
            _upload_again(store, folder, prefix, artifact)
    return [asdict(artifact) for artifact in artifacts]


def fetch_folder(store: ObjectStore, prefix: str, files: list[dict[str, Any]], folder: Path) -> None:
    """Download `files` into `folder`. Raises DamagedArtifact where one is missing or altered, read twice."""
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
    """Read the object, keep it in `into` where given, and compare its hash."""
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
