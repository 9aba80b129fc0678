"""A base model's weights in 4 or 8 bits, kept in the model store, so that the next load quantises nothing.

A copy can be made anew at any time. So whatever is wrong with one, or with the disk, is no error: the source
weights are quantised again. Its hash is compared before it is read, since a machine may have failed while the
copy was on its way to the disk.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from safetensors import SafetensorError

from core.base_files.paths import QUANTISED
from worker.base_models.build_once import build_once, discard
from worker.base_models.telling import Tell, untold

WEIGHTS, HASH = "weights.safetensors", "weights.sha256"  # the hash makes a copy finished
SPARED = 2  # times its size must be free on the disk before a copy is written
UNUSED_SECONDS = 7 * 24 * 3600  # after which others go: workers of two releases may share a store until then
PIECE_BYTES = 2**20

log = structlog.get_logger()


@dataclass(frozen=True)
class QuantisedCopy:
    """The place of one copy, which may not exist yet."""

    folder: Path

    @classmethod
    def of(cls, model: Path, form: Sequence[str], made_from: Sequence[str]) -> "QuantisedCopy":
        """Return the place in the store's folder of a model.

        `form` says what the weights are held in, such as nf4 on a CPU. Copies of this form that were
        `made_from` other weights, or by other libraries, are removed when nobody has used them for a week.
        """
        digest = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
        return cls(model / f"{QUANTISED}{'-'.join(form)}.{digest}")

    def found(self, tell: Tell = untold) -> Path | None:
        """Return the file with the weights if it is there and whole. A damaged copy is removed.

        The file is read for its hash, which is half of the load that `tell` hears of.
        """
        file, hashed = self.folder / WEIGHTS, self.folder / HASH
        with suppress(OSError):
            self._remove_unused_others()
        try:
            if not hashed.exists():
                return None
            if _sha256(file, tell) == hashed.read_text("ascii"):
                with suppress(OSError):  # another user's, or on a disk that is only read
                    hashed.touch()  # says when it was last used
                return file
            reason = "its hash is another one"
        except PermissionError as error:  # another user's, who can read it
            log.warning("quantised_copy_not_read", folder=str(self.folder), reason=str(error))
            return None
        except (OSError, ValueError) as error:
            reason = str(error)
        log.warning("quantised_copy_damaged", folder=str(self.folder), reason=reason)
        self.remove()
        return None

    def keep(self, write: Callable[[Path], object], size: int) -> None:
        """Have a file of so many bytes written and keep it, unless another process has done or does so.

        Nothing is kept if the store cannot be written to, or if little would be left free on its disk. Nobody
        waits: the model's folder may be locked for a whole download.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if (free := shutil.disk_usage(self.folder.parent).free) < SPARED * size:
                log.warning("quantised_copy_not_kept", reason="the disk is nearly full", free=free, size=size)
                return
            build_once(self.folder, partial(self._build, write), _is_finished, waits=False)
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:  # as of shared memory
            log.warning("quantised_copy_not_kept", reason=repr(error))

    def remove(self) -> None:
        """Remove the copy, if that is possible. Whoever reads it now reads it to its end."""
        with suppress(OSError):
            discard(self.folder)

    def _build(self, write: Callable[[Path], object], folder: Path) -> None:
        if self.folder.exists():  # it is not finished, and we hold the lock
            discard(self.folder)
        write(folder / WEIGHTS)
        (folder / HASH).write_text(_sha256(folder / WEIGHTS), "ascii")
        shutil.copymode(folder / HASH, folder / WEIGHTS)  # safetensors lets only this user read it

    def _remove_unused_others(self) -> None:
        form, since = self.folder.name.rpartition(".")[0], time.time() - UNUSED_SECONDS
        for other in self.folder.parent.glob(f"{form}.*"):
            hashed = other / HASH
            if other != self.folder and not (hashed.exists() and hashed.stat().st_mtime > since):
                QuantisedCopy(other).remove()


def _is_finished(folder: Path) -> bool:
    return (folder / HASH).exists()


def _sha256(path: Path, tell: Tell = untold) -> str:
    found, size = hashlib.sha256(), path.stat().st_size
    tell(0, 2 * size)
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
            tell(file.tell(), 2 * size)
    return found.hexdigest()
