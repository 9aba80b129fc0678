"""Finds what is wrong with the folder of a base model, before any of its files is loaded.

Whoever published a model wrote these files, so nothing in them is trusted. transformers reads them with few
checks: it would follow a link or an index out of the folder, take memory for whatever sizes the configuration
names, and load another base model if the folder also holds an adapter. torch is not imported.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from core.base_files.loadable import quantised_source
from worker.process.faults import disk_fault

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
ADAPTER, TOKENIZER = "adapter_config.json", "tokenizer.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

MAX_BYTES = 16 * 1024**2  # of a file without weights
MAX_VOCABULARY_BYTES = 128 * 1024**2
VOCABULARIES = frozenset(
    {TOKENIZER, "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model"}
)

MAX_NUMBER = 2**31  # no size of a model is as large
LAYERS = frozenset({"num_hidden_layers", "num_layers", "n_layers", "n_layer"})
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def why_unusable(folder: Path) -> str | None:
    """Return the first fault of the folder as a part of a sentence that names the file, or None.

    Raises OSError and SafetensorError if the disk fails.
    """
    folder = folder.resolve()
    fault = next(_faults(folder), None)
    return fault and fault.replace(f"{folder}/", "")  # clients read it and must see no path


def _faults(folder: Path) -> Iterator[str]:
    """Yield the faults. Each check relies on the checks before it, so only the first fault is certain."""
    yield from _faults_of_files(folder)
    yield from _faults_of_config(folder)
    yield from _faults_of_index(folder)
    yield from _faults_of_weights(folder)
    yield from _faults_of_tokenizer(folder)


def _faults_of_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if not _stays_inside(path, folder):
            yield f"{path.name} is a link to a place outside of the folder"
        elif path.is_dir() or path.suffix == ".safetensors":
            continue
        elif not path.is_file():
            yield f"{path.name} is not a regular file"
        elif path.suffix in (".json", ".jinja", ".txt", ".model"):
            most = MAX_VOCABULARY_BYTES if path.name in VOCABULARIES else MAX_BYTES
            if path.stat().st_size > most:
                yield f"{path.name} has more than {most:,} bytes"
    if (folder / ADAPTER).exists():
        yield f"{ADAPTER} makes the folder an adapter, but a base model is needed"


def _stays_inside(path: Path, folder: Path) -> bool:
    """Return whether the path leads to a place in the folder, or to a blob of the hub's own cache."""
    places = [folder]
    if folder.parent.name == "snapshots":  # the cache keeps the files of all revisions in one folder
        places.append(folder.parent.parent / "blobs")
    target = path.resolve()
    return any(target.is_relative_to(place) for place in places)


def _faults_of_config(folder: Path) -> Iterator[str]:
    config = _object_in(folder / CONFIG)
    if isinstance(config, str):
        yield config
    elif not isinstance(config.get("model_type"), str):
        yield f"{CONFIG} names no model_type"
    else:
        for name, value in _numbers(config):
            if abs(value) >= MAX_NUMBER:
                yield f"{CONFIG} sets {name} to a number that no model has"


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of the configuration and of its parts, such as `text_config`."""
    for name, value in config.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
        elif isinstance(value, dict):
            yield from _numbers(value)


def _faults_of_index(folder: Path) -> Iterator[str]:
    if not (folder / INDEX).exists():
        if not (folder / WEIGHTS).exists():
            yield _without_weights(folder)
        return
    index = _object_in(folder / INDEX)
    if isinstance(index, str):
        yield index
        return
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        yield f"{INDEX} has no weight_map"
        return
    for shard in sorted(set(map(str, shards.values()))):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            yield f"{INDEX} names {shard[:200]!r}, which is not a safetensors file of the folder"
        elif not (folder / shard).is_file():
            yield f"{INDEX} names {shard[:200]!r}, which is missing"


def _without_weights(folder: Path) -> str:
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLES:
            return f"{path.name} holds pickled weights, which may run code. Convert them to safetensors"
    return f"it holds no safetensors: neither {WEIGHTS} nor {INDEX} is there"


def _faults_of_weights(folder: Path) -> Iterator[str]:
    config = _object_in(folder / CONFIG)
    assert isinstance(config, dict), "checked before"
    tensors: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:  # checks all offsets
                for name in file.keys():  # noqa: SIM118 (it is not a mapping)
                    tensors[name] = path.name
                    dtype = file.get_slice(name).get_dtype()
                    if quantised_source(config) is None and name.endswith(".weight") and dtype not in FLOATS:
                        yield f"{path.name} holds {name[:200]!r} as {dtype}, but weights are F32, F16 or BF16"
        except SafetensorError as error:
            if disk_fault(error):
                raise
            yield f"{path.name} is damaged ({error})"
    for name, layers in _numbers(config):
        if name in LAYERS and layers > len(tensors):
            yield f"{CONFIG} sets {name} to {layers:,}, but the weights are {len(tensors):,} tensors"
    yield from _faults_of_shards(folder, tensors)


def _faults_of_shards(folder: Path, tensors: Mapping[str, str]) -> Iterator[str]:
    if (folder / INDEX).exists():
        index = _object_in(folder / INDEX)
        assert isinstance(index, dict), "checked before"
        for name, shard in index["weight_map"].items():
            if tensors.get(name) != shard:
                yield f"{INDEX} looks for {name[:200]!r} in {shard}, which does not hold it"


def _faults_of_tokenizer(folder: Path) -> Iterator[str]:
    if not (folder / TOKENIZER).exists():
        return
    try:
        Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises no narrower error
        if disk_fault(error):
            raise
        yield f"{TOKENIZER} is damaged ({error})"


def _object_in(path: Path) -> dict[str, Any] | str:
    """Return the JSON object in the file, or the fault."""
    if not path.exists():
        return f"{path.name} is missing"
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return f"{path.name} is not JSON ({error})"
    return found if isinstance(found, dict) else f"{path.name} holds no JSON object"
