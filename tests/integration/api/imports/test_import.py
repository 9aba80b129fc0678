"""Adapters that were trained elsewhere, from the file to the chat, the download and the next job."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.roles import Role
from tests.fixtures.api import Api, Tenant, refusal
from tests.fixtures.imports import CONFIG, WEIGHTS, packed, peft_files, tensors_in, with_config
from tests.fixtures.serving import ServerProcess, Serving
from tests.fixtures.tiny import TINY

ADAPTERS, JOBS = "/v1/adapters", "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def owner(chat_api: Api, server: ServerProcess) -> Tenant:
    return chat_api.tenant("imports")


@pytest.fixture
def import_file(owner: Tenant) -> Any:
    def run(content: bytes, name: str = "adapter.zip", **body: Any) -> Any:
        file = owner.upload(content, "user_data", name)
        return owner.http.post(ADAPTERS, json={"file": file, "base_model": TINY, **body}, timeout=120)

    return run


def chat(tenant: Tenant, model: str, content: str = "Hello") -> Any:
    messages = [{"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 8, "logprobs": True}
    answer = tenant.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize("top", ["", "my-adapter/"])
def test_an_imported_adapter_is_like_one_that_a_job_has_trained(
    owner: Tenant, serving: Serving, import_file: Any, tmp_path: Path, top: str
) -> None:
    files = peft_files(serving.folder / "model", tmp_path)
    content = packed(files, top)
    answer = import_file(content, suffix="mine")
    assert answer.status_code == 200, answer.text
    adapter = answer.json()
    assert adapter["model"].startswith(f"ft:{TINY}:imports:mine:")
    assert (adapter["job_id"], adapter["base_model"], adapter["type"]) == (None, TINY, "lora")
    imported = adapter["imported"]
    assert imported | {"key_id": ""} == {
        "format": "peft",
        "filename": "adapter.zip",
        "sha256": hashlib.sha256(content).hexdigest(),
        "key_id": "",
        "key_name": "test",
    }
    assert imported["key_id"]
    assert owner.http.get(f"{ADAPTERS}/{adapter['id']}").json() == adapter
    assert adapter["id"] in [each["id"] for each in owner.http.get(ADAPTERS).json()["data"]]
    model = next(each for each in owner.openai.models.list() if each.id == adapter["model"])
    assert model.owned_by == "imports"

    archive = owner.http.get(f"{ADAPTERS}/{adapter['id']}/content").content
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        found.extractall(tmp_path / "downloaded")
    sent, kept = (
        tensors_in(content, tmp_path)
        for content in (files[WEIGHTS], (tmp_path / "downloaded" / WEIGHTS).read_bytes())
    )
    assert sent.keys() == kept.keys()
    assert all(sent[name].equal(kept[name]) for name in sent)
    manifest = json.loads((tmp_path / "downloaded/manifest.json").read_text())
    assert manifest["imported"]["sha256"] == imported["sha256"]
    base: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model")
    plain = PeftModel.from_pretrained(base, tmp_path / "downloaded").eval()
    assert plain.peft_config["default"].base_model_name_or_path == f"example/{TINY}"

    tuned = chat(owner, adapter["model"])
    assert tuned == chat(owner, adapter["id"])
    stored = serving.adapter(r=4)
    assert tuned != chat(owner, TINY)
    assert stored
    assert owner.http.delete(f"/v1/models/{adapter['model']}").json()["deleted"]
    refusal(owner.http.get(f"{ADAPTERS}/{adapter['id']}"), 404, "adapter_id")
