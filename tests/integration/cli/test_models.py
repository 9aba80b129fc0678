"""`tunery models`: from a hub that stands in for the real one to a model that a running API offers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from core.catalog import load_catalog
from tests.fixtures.models.tiny import save_model, text, tiny_llama
from tests.fixtures.outside.hub_of_models import COMMIT, ModelHub, asked_by_this_process, model_hub
from tests.fixtures.service.api import Api
from tests.fixtures.service.shell import Shell
from worker.base_models.model_store import ensure_model
from worker.base_models.quantised_copy import QuantisedCopy

NAME = "example/Tiny-Instruct"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "tiny"
    save_model(tiny_llama(), folder, text)
    return folder


@pytest.fixture
def hub(folder: Path) -> Iterator[ModelHub]:
    with model_hub() as hub:
        hub.folders[NAME], hub.licenses[NAME] = folder, "apache-2.0"
        yield hub


@pytest.fixture
def operator_of(hub: ModelHub, tmp_path: Path) -> Shell:
    """Return the shell of an operator whose installation has no catalog yet."""
    return Shell(tmp_path, {"TUNERY_HOME": str(tmp_path / "home"), "HF_TOKEN": "", **hub.variables})


def changed(folder: Path, to: Path, **fields: Any) -> Path:
    """Return a copy of the model's folder whose config.json has other fields."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | fields
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_a_model_of_the_hub_is_offered_by_a_running_api_and_fetched_by_a_worker(
    api: Api, operator_of: Shell, tmp_path: Path, hub: ModelHub
) -> None:
    home = tmp_path / "home"
    with api.beside(catalog_file=None, home=home) as other:
        client: OpenAI = other.tenant().openai
        assert [model.id for model in client.models.list()] == ["smollm2-135m-instruct"]

        added = operator_of.run("models", "add", NAME, "--max-length", "256")

        assert added.returncode == 0, added.stderr
        assert "LlamaForCausalLM, which takes the fast path" in added.stdout
        assert "apache-2.0" in added.stdout
        assert "NVIDIA L4" in added.stdout
        assert [model.id for model in client.models.list()] == ["smollm2-135m-instruct", "tiny-instruct"]
    entry = load_catalog(home / "catalog.toml").get("tiny-instruct")
    assert entry is not None
    assert (entry.repository, entry.revision, entry.max_length) == (NAME, COMMIT, 256)
    moved: list[int] = []
    with asked_by_this_process(hub):
        fetched, _ = ensure_model(entry, tmp_path / "models", moved.append)
    assert sum(moved) >= (fetched / "model.safetensors").stat().st_size
    copy = QuantisedCopy.of(home / "models" / entry.id, ["nf4", "cpu", "bfloat16"], ["weights"])
    copy.keep(lambda file: file.write_bytes(bytes(1000)), 1000)
    (copy.folder / "removed-meanwhile").symlink_to("nowhere")
    (_, listed) = operator_of.json("models", "list")
    assert listed["quantised_bytes"] == 1000 + 64, "the weights in 4 bits, and their hash"
    removed = operator_of.run("models", "remove", "tiny-instruct")
    assert removed.returncode == 0, removed.stderr
    assert [each["id"] for each in operator_of.json("models", "list")] == ["smollm2-135m-instruct"]
    assert copy.found() is None


def test_a_folder_is_added_and_checked_again(operator_of: Shell, folder: Path) -> None:
    assert operator_of.run("models", "add", folder, "--license", "MIT").returncode == 0
    checked = operator_of.json("models", "check", "tiny")
    assert {check["state"] for check in checked["checks"]} <= {"ok", "warn"}
    licence = next(check for check in checked["checks"] if check["name"] == "licence")
    assert (licence["state"], licence["found"]) == ("ok", "MIT"), "the operator has named it"
    assert [fit["device"] for fit in checked["fits"]][1:3] == ["NVIDIA GeForce RTX 4090", "NVIDIA L4"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model_type": "unheard_of", "auto_map": {}}, "transformers has no causal model of this type"),
        ({"quantization_config": {"quant_method": "gptq"}}, "source weights are quantised (gptq)"),
    ],
)
def test_a_model_that_jobs_cannot_train_is_not_added(
    operator_of: Shell, folder: Path, tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    ended = operator_of.run("models", "add", changed(folder, tmp_path / "wrong", **fields))
    assert ended.returncode == 1
    assert says in ended.stdout
    assert "architecture" in ended.stderr
    assert not (tmp_path / "home" / "catalog.toml").exists()


def test_a_gated_model_needs_a_token(operator_of: Shell, hub: ModelHub) -> None:
    hub.gated.add(NAME)
    refused = operator_of.run("models", "add", NAME, "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "set HF_TOKEN" in refused.stderr
    seen = operator_of.run("models", "add", NAME, "--dry-run", HF_TOKEN=ModelHub.TOKEN)
    assert seen.returncode == 0, seen.stderr


def test_a_name_that_the_hub_does_not_have_is_said(operator_of: Shell) -> None:
    refused = operator_of.run("models", "add", "example/Absent")
    assert (refused.returncode, "no model example/Absent" in refused.stderr) == (1, True)
