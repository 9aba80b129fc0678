"""A base model's weights in 4 or 8 bits, kept in the model store, so that the next load quantises nothing.

A copy can be made anew at any time. So whatever is wrong with one, or with the disk, is no error: the source
weights are quantised again. Its hash is compared before it is read, since a machine may have failed while the
copy was on its way to the disk.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from safetensors import SafetensorError

from core.base_files.paths import QUANTISED
from worker.base_models.build_once import build_once

WEIGHTS, HASH = "weights.safetensors", "weights.sha256"  # the hash makes a copy finished
SPARED = 2  # times its size must be free on the disk before a copy is written

log = structlog.get_logger()


@dataclass(frozen=True)
class QuantisedCopy:
    """The place of one copy, which may not exist yet."""

    folder: Path

    @classmethod
    def of(cls, model: Path, form: Sequence[str], made_from: Sequence[str]) -> "QuantisedCopy":
        """Return the place in the store's folder of a model.

        `form` says what the weights are held in, such as nf4 on a CPU. There is one copy of each form: those
        that were `made_from` other weights, or by other libraries, are removed when a new one is kept.
        """
        digest = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
        return cls(model / f"{QUANTISED}{'-'.join(form)}.{digest}")

    def found(self) -> Path | None:
        """Return the file with the weights if it is there and whole. A damaged copy is removed."""
        file, hashed = self.folder / WEIGHTS, self.folder / HASH
        if not hashed.exists():
            return None
        try:
            if _sha256(file) == hashed.read_text("ascii"):
                return file
            reason = "its hash is another one"
        except (OSError, ValueError) as error:
            reason = str(error)
        log.warning("quantised_copy_damaged", folder=str(self.folder), reason=reason)
        self.remove()
        return None

    def keep(self, write: Callable[[Path], object], size: int) -> None:
        """Have a file of so many bytes written and keep it, unless another process has done so.

        Nothing is kept if the store cannot be written to, or if little would be left free on its disk.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if (free := shutil.disk_usage(self.folder.parent).free) < SPARED * size:
                log.warning("quantised_copy_not_kept", reason="the disk is nearly full", free=free, size=size)
                return
            build_once(self.folder, partial(_build, write), lambda folder: (folder / HASH).exists())
            for other in self._others():
                shutil.rmtree(other, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            log.warning("quantised_copy_not_kept", reason=str(error))

    def remove(self) -> None:
        """Remove the copy, if that is possible. Whoever reads it now reads it to its end."""
        with suppress(OSError):
            shutil.rmtree(self.folder)

    def _others(self) -> Iterator[Path]:
        form = self.folder.name.rpartition(".")[0]
        return (path for path in self.folder.parent.glob(f"{form}.*") if path != self.folder)


def _build(write: Callable[[Path], object], folder: Path) -> None:
    write(folder / WEIGHTS)
    (folder / HASH).write_text(_sha256(folder / WEIGHTS), "ascii")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
