"""What a hub or a folder has of a base model, known before its weights are fetched."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from core.base_files.chat_templates import is_of_a_template, templates_in
from core.errors import AppError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CONFIG, CARD = "config.json", "README.md"
LARGEST = 32 * 1024**2  # bytes of a configuration; larger ones are not fetched
MOST_FILES = 20  # that are fetched: models have three, and some have a few templates more
HUB_SECONDS = 20


@dataclass(frozen=True)
class Published:
    """A model as its publisher has left it.

    `files` has the size in bytes of each file, and `templates` the chat templates by their names.
    """

    name: str
    revision: str
    license: str | None
    files: Mapping[str, int]
    config: Mapping[str, Any]
    templates: Mapping[str, str] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        return sum(size for name, size in self.files.items() if name.endswith(".safetensors"))


def on_hub(repository: str, revision: str) -> Published:
    """Ask the hub for a model. `HF_ENDPOINT` is its address, and `HF_TOKEN` the token.

    Raises InvalidRequest, which names `repository` or `revision`, and Unavailable.
    """
    # The import takes half a second, and few processes ask the hub
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled

    try:
        return _asked(HfApi(), repository, revision)
    except (HTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise _refusal(repository, revision, error) from error


def in_folder(folder: Path) -> Published:
    """Look at a folder as transformers saves it."""
    return Published(
        name=folder.name,
        revision="local",
        license=_license_of_card(folder / CARD),
        files={path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
        config=_json(folder / CONFIG),
        templates=_templates(folder),
    )


def _asked(hub: "HfApi", repository: str, revision: str) -> Published:
    info = hub.model_info(repository, revision=revision, files_metadata=True, timeout=HUB_SECONDS)
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    with TemporaryDirectory() as folder:
        small = (name for name, size in files.items() if size < LARGEST)
        wanted = [name for name in small if name == CONFIG or is_of_a_template(name)]
        for name in sorted(wanted, key=lambda name: "/" in name)[:MOST_FILES]:
            hub.hf_hub_download(repository, name, revision=info.sha, local_dir=folder)
        config, templates = _json(Path(folder) / CONFIG), _templates(Path(folder))
    declared = info.card_data.license if info.card_data else None
    return Published(
        name=repository,
        revision=str(info.sha),
        license=str(declared) if declared else None,
        files=files,
        config=config,
        templates=templates,
    )


def _refusal(repository: str, revision: str, error: Exception) -> AppError:
    """Return what to do about a failed question to the hub."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return InvalidRequest(
            f"{repository} is gated. Accept its licence on its page at the hub, and set HF_TOKEN to a token "
            "of the same account, for the process that looks at it (the API or this command) and for the "
            "workers.",
            code="model_gated",
            param="repository",
        )
    if isinstance(error, RepositoryNotFoundError):
        return InvalidRequest(
            f"The hub has no model {repository}, or it is private. Check the name, such as Qwen/Qwen3-8B, or "
            "set HF_TOKEN.",
            code="model_not_found",
            param="repository",
        )
    if isinstance(error, RevisionNotFoundError):
        return InvalidRequest(
            f"{repository} has no revision {revision!r}. Use a branch, a tag or a commit",
            code="revision_not_found",
            param="revision",
        )
    if isinstance(error, HFValidationError):
        return InvalidRequest(
            f"{repository!r} is neither a folder nor a name like Qwen/Qwen3-8B",
            code="invalid_value",
            param="repository",
        )
    reason = type(error).__name__
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        reason = f"it answered with status {error.response.status_code}"
    return Unavailable(
        f"The hub does not answer for {repository} ({reason}). Check that this machine reaches the hub, or "
        "set HF_ENDPOINT to a mirror",
        code="hub_unavailable",
    )


def _templates(folder: Path) -> Mapping[str, str]:
    """Return the templates in a folder, or none if its files cannot be read."""
    try:
        return templates_in(folder)
    except (OSError, ValueError, RecursionError):
        return {}


def _json(path: Path) -> Mapping[str, Any]:
    """Return the object in a file, or an empty one if there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _license_of_card(card: Path) -> str | None:
    """Return the licence that a model card declares in its head."""
    if not card.exists():
        return None
    lines = card.read_text("utf-8", "replace").splitlines()[:100]
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(found, None)
