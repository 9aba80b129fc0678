"""Folders of base models that are damaged or mean harm: each is refused by name, and none runs code."""

import shutil
from pathlib import Path

import pytest
import torch

from core.catalog import BaseModelEntry
from core.errors import JobError
from tests.fixtures.models.hostile import BAD_FILES, BAD_MODELS, replacing, setting, sharded
from tests.fixtures.models.tiny import save_model, text, tiny_llama
from worker.base_models.folder_check import why_unusable
from worker.base_models.model_store import ensure_model, load_errors_explained
from worker.engine.base.base_model import ResidentBase


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "model"
    save_model(tiny_llama(), folder, text)
    return folder


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of the sound model, which the test may change."""
    return shutil.copytree(sound, tmp_path / "model")


def load(folder: Path) -> None:
    """Load the model as a trainer does."""
    entry = BaseModelEntry(
        id="tiny",
        repository="example/Tiny",
        source="folder",
        path=folder,
        revision="1",
        license="MIT",
        max_length=64,
    )
    with load_errors_explained(entry):
        ResidentBase(entry, *ensure_model(entry, folder), torch.device("cpu"))


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_folder_with_a_bad_file_is_refused_before_it_is_loaded(model: Path, fault: str) -> None:
    change, words = BAD_FILES[fault]
    change(model)
    with pytest.raises(JobError, match=words) as raised:
        load(model)
    assert raised.value.code == "model_unavailable"
    assert raised.value.param == "model"
    assert str(model.parent) not in raised.value.message
    assert not (model.parent / "code-has-run").exists()


@pytest.mark.parametrize("fault", BAD_MODELS)
def test_a_model_that_transformers_would_guess_or_cannot_make_is_refused(model: Path, fault: str) -> None:
    change, words = BAD_MODELS[fault]
    change(model)
    with pytest.raises(JobError, match=words) as raised:
        load(model)
    assert raised.value.code in ("unsupported_architecture", "model_unavailable")
    assert str(model.parent) not in raised.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        sharded(lambda names: dict.fromkeys(names, "model-1.safetensors")),
        replacing("pytorch_model.bin", "beside the safetensors"),
        setting(auto_map={"AutoConfig": "evil.C"}, architectures=["os.system"]),
    ],
    ids=["as it is", "in shards", "with pickles beside it", "with code that nobody needs"],
)
def test_what_is_sound_is_loaded_without_what_stands_beside_it(model: Path, change: object) -> None:
    change(model)  # type: ignore[operator]
    load(model)


def test_a_folder_of_the_hubs_cache_may_link_to_the_caches_blobs(model: Path) -> None:
    snapshot, blobs = model.parent / "snapshots" / "abc", model.parent / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in model.iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert why_unusable(snapshot) is None
