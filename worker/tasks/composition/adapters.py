"""Fetches the adapters that are composed, and reads their factors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.compositions.requests import Composition
from core.errors import JobError
from core.jobs.ancestor import Ancestor
from core.storage.file_names import WEIGHTS_NAME, DamagedFile
from core.storage.folders import fetch_folder
from worker.adapter_files.stored_parent import stored_parent
from worker.engine.sampler.adapters.check import CONFIG_NAME, AdapterRefused
from worker.engine.sampler.adapters.plain_lora import read_plain_lora
from worker.process.scratch import scratch_folder
from worker.tasks.composition.methods import Lora
from worker.tasks.export.source import require_same_base
from worker.tasks.frame.work import Work
from worker.tasks.importing.factors import LayerFactors, LoraFactors, check_fit
from worker.tasks.importing.layers import Layers
from worker.tasks.offered_base import OfferedBase

NEEDED = (CONFIG_NAME, WEIGHTS_NAME, "manifest.json")


def fetch_parts(work: Work, composition: Composition, base: OfferedBase, layers: Layers) -> Sequence[Lora]:
    """Return the adapters in the order of the request. Raises JobError, which names the adapter."""
    loras = []
    for position, parent in enumerate(composition.parents):
        work.progress(f"fetching adapter {position + 1} of {len(composition.parents)}", 0.02)
        with scratch_folder("adapter") as folder, _explained(parent, f"adapters.{position}.adapter"):
            _fetch(work, parent, folder)
            require_same_base(folder, base)
            lora = read_plain_lora(folder, transposed=True)
            _check_fit(lora, layers)
            loras.append(lora)
    return loras


@contextmanager
def _explained(parent: Ancestor, param: str) -> Iterator[None]:
    try:
        yield
    except DamagedFile as error:
        reason = f"The stored files of {parent.model} are damaged: {error}."
        raise JobError("adapter_damaged", reason, param) from error
    except AdapterRefused as error:
        reason = f"{parent.model} cannot be composed: {str(error).rstrip('.')}."
        raise JobError("adapter_not_composable", reason, param) from error


def _fetch(work: Work, parent: Ancestor, folder: Path) -> None:
    with work.sessions() as session:
        row = stored_parent(session, parent)
    if row is None:
        raise JobError(
            "model_deleted",
            f"The model {parent.model}, which is a part of this composition, has been deleted.",
            "adapters",
        )
    files = [file for file in row.files if file["name"] in NEEDED]
    fetch_folder(work.store, row.object_prefix, files, folder, work.advance)


def _check_fit(lora: Lora, layers: Layers) -> None:
    """Raise AdapterRefused if the factors do not fit the layers of the base model."""
    if unknown := sorted(lora.keys() - layers.by_name.keys()):
        raise AdapterRefused(f"it changes {unknown[0]}, which is not a linear layer of the base model")
    factors = {name: LayerFactors(each.A_RK, each.B_NR, 1.0) for name, each in lora.items()}
    try:
        check_fit(LoraFactors(factors), layers)
    except JobError as error:
        raise AdapterRefused(str(error)) from error
