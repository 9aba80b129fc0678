"""Adapters that were trained elsewhere, from the file to the chat, the download and the next job."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import loralib
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save
from sqlalchemy import func, select
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.access.projects import find_project, set_quotas
from core.artifacts import stored_bytes
from core.roles import Role
from core.serving.served_model import StoredAdapter
from core.tables import Adapter, Artifact
from tests.fixtures.models.loralib_models import ALPHA, R, with_loralib
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.api import Api, Tenant, dataset, refusal
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.serving import Serving
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.compositions import composed
from tests.fixtures.work.evals import EvalRuns, chat_row
from tests.fixtures.work.evals_api import EVALS, make_eval, make_run
from tests.fixtures.work.hostile_adapters import HOSTILE, MAX_BYTES
from tests.fixtures.work.imports import WEIGHTS, importing_worker, packed, peft_files, tensors_in
from tests.fixtures.work.likelihood import by_transformers, rendered

ADAPTERS, JOBS = "/v1/adapters", "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def owner(chat_api: Api, serving: Serving) -> Iterator[Tenant]:
    serving.start()
    with importing_worker(chat_api, max_adapter_bytes=MAX_BYTES, portability_at_publication=True):
        yield chat_api.tenant("imports")


@pytest.fixture(scope="module")
def files(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return PEFT's files of a sound adapter."""
    return peft_files(serving.folder / "model", tmp_path_factory.mktemp("adapter"))


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


@pytest.mark.family(1)
@pytest.mark.parametrize("top", ["", "my-adapter/"])
def test_an_imported_adapter_is_like_one_that_a_job_has_trained(
    owner: Tenant, serving: Serving, files: dict[str, bytes], import_file: Any, tmp_path: Path, top: str
) -> None:
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
    portability = owner.http.get(f"{ADAPTERS}/{adapter['id']}/portability").json()
    assert portability["measurement"] is None  # it is measured on demand alone

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
    assert tuned != chat(owner, TINY)
    assert owner.http.delete(f"/v1/models/{adapter['model']}").json()["deleted"]
    refusal(owner.http.get(f"{ADAPTERS}/{adapter['id']}"), 404, "adapter_id")


@pytest.mark.parametrize("name", ["a pickle with code", "another base"])
def test_a_hostile_file_is_refused_with_the_reason_and_nothing_is_left(
    chat_api: Api, files: dict[str, bytes], import_file: Any, name: str
) -> None:
    hostile = HOSTILE[name]
    clean(chat_api)
    rows, objects = adapters(chat_api), set(chat_api.store.list("imports/"))
    answer = import_file(hostile.make(files), "adapter.pt", lora_alpha=1.0)
    error = refusal(answer, 400, hostile.param, hostile.code)
    assert hostile.says in error["message"]
    assert adapters(chat_api) == rows
    clean(chat_api)
    assert set(chat_api.store.list("imports/")) == objects


def adapters(api: Api) -> int:
    with api.sessions() as session:
        return session.scalars(select(func.count()).select_from(Adapter)).one()


def kept_of_the_task(api: Api) -> int:
    """Return the bytes that the request and the report of the newest import take in Postgres."""
    of_imports = (
        Artifact.owner_kind == "task",
        Artifact.owner_id.startswith("import-"),
        Artifact.prefix.is_(None),
    )
    with api.sessions() as session:
        newest = select(Artifact.bytes).where(*of_imports).order_by(Artifact.owner_id.desc())
        return session.scalars(newest).first() or 0


def held(api: Api, tenant: Tenant) -> int:
    with api.sessions() as session:
        return stored_bytes(session, tenant.project_id)


def test_an_imported_adapter_is_of_one_project_alone(
    chat_api: Api, owner: Tenant, files: dict[str, bytes], import_file: Any
) -> None:
    adapter = import_file(packed(files)).json()
    other = chat_api.tenant()
    for path in (ADAPTERS, "/v1/models"):
        assert adapter["id"] not in other.http.get(path).text
    for path in (f"{ADAPTERS}/{adapter['id']}", f"{ADAPTERS}/{adapter['id']}/content"):
        refusal(other.http.get(path), 404, "adapter_id")
    refusal(other.http.get(f"/v1/models/{adapter['model']}"), 404, "model")
    refusal(other.http.delete(f"{ADAPTERS}/{adapter['id']}"), 404, "adapter_id")
    for name in (adapter["model"], adapter["id"]):
        body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        refusal(other.http.post("/v1/chat/completions", json=body), 404, "model")
        job = {"model": name, "training_file": other.upload()}
        refusal(other.http.post(JOBS, json=job), 400, "model", "model_not_available")
    own_file = owner.upload(packed(files), "user_data")
    body = {"file": own_file, "base_model": TINY}
    refusal(other.http.post(ADAPTERS, json=body), 400, "file", "invalid_file_id")
    admin = chat_api.tenant("imports", Role.ADMIN)
    share = f"/v1/fine_tuning/checkpoints/{adapter['model']}/permissions"
    answer = admin.http.post(share, json={"project_ids": [other.project_id]})
    refusal(answer, 400, "fine_tuned_model_checkpoint", "model_not_shareable")


def test_an_import_that_is_repeated_after_its_answer_was_lost_makes_one_adapter(
    chat_api: Api, owner: Tenant, files: dict[str, bytes]
) -> None:
    body = {"file": owner.upload(packed(files), "user_data"), "base_model": TINY}
    before, stored, key = adapters(chat_api), held(chat_api, owner), {"Idempotency-Key": uuid4().hex}
    first, second = (owner.http.post(ADAPTERS, json=body, headers=key, timeout=120) for _ in range(2))
    assert first.json() == second.json()
    assert adapters(chat_api) == before + 1
    size = sum(file["bytes"] for file in first.json()["files"])
    assert held(chat_api, owner) == stored + size + kept_of_the_task(chat_api), "it counts for the quota"


def test_an_adapter_that_does_not_fit_into_the_store_is_not_left_there(
    chat_api: Api, owner: Tenant, files: dict[str, bytes], import_file: Any
) -> None:
    """It is refused only once it is made: before, nobody knows its size."""
    content = packed(files)
    clean(chat_api)
    rows, objects = adapters(chat_api), set(chat_api.store.list("imports/"))
    try:
        allow(owner, stored_bytes=held(chat_api, owner) + len(content))
        refusal(import_file(content), 429, "file", "insufficient_quota")
    finally:
        allow(owner, stored_bytes=None)
    assert adapters(chat_api) == rows
    clean(chat_api, GRACE_OVER)
    assert set(chat_api.store.list("imports/")) == objects


def allow(tenant: Tenant, **quotas: int | None) -> None:
    with tenant.api.sessions.begin() as session:
        set_quotas(session, find_project(session, tenant.project), quotas)


def test_a_base_model_that_is_not_on_offer_is_refused(import_file: Any) -> None:
    refusal(import_file(b"x", base_model="gpt-5"), 400, "base_model", "model_not_available")


def test_a_job_inherits_ranks_targets_and_invocation_of_an_imported_adapter(
    owner: Tenant, serving: Serving, import_file: Any, tmp_path: Path
) -> None:
    options = {"r": 4, "rank_pattern": {"layers.0.self_attn.q_proj": 2}, "use_rslora": True}
    options |= {"alora_invocation_tokens": [5, 9]}
    adapter = import_file(packed(peft_files(serving.folder / "model", tmp_path, **options))).json()
    job = owner.create_job(model=adapter["model"])
    assert job["lineage"] == [
        {"model": adapter["model"], "adapter_id": adapter["id"], "job_id": None, "step": None}
        | {"sha256": job["lineage"][0]["sha256"], "weight": None}
    ]
    expected = {**options, "lora_alpha": 12, "rank_pattern": {"model.layers.0.self_attn.q_proj": 2}}
    assert {name: job["adapter"][name] for name in expected} == expected
    assert job["adapter"]["target_modules"] == ["q_proj", "v_proj"]
    owner.openai.fine_tuning.jobs.cancel(job["id"])


def test_a_checkpoint_of_loralib_answers_as_in_loralib_however_it_came_in(
    chat_api: Api, owner: Tenant, serving: Serving, import_file: Any, tmp_path: Path
) -> None:
    base: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model", dtype=torch.float32)
    lora = with_loralib(base, None)
    state = loralib.lora_state_dict(lora)
    answer = import_file(save(state), "lora.safetensors", lora_alpha=ALPHA, r=R)
    assert answer.status_code == 200, answer.text
    over_http = answer.json()
    torch.save(state, tmp_path / "lora.pt")
    tunery = Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": owner.key})
    by_command = tunery.json("adapters", "import", "lora.pt", "--model", TINY, "--lora-alpha", str(ALPHA))
    expected, unadapted = (likeliest(model, serving.folder / "model") for model in (lora, base))
    assert abs(expected - unadapted) > 1e-2
    for adapter in (over_http, by_command):
        assert adapter["imported"]["format"] == "loralib"
        first = chat(owner, adapter["model"])["logprobs"]["content"][0]
        assert first["logprob"] == pytest.approx(expected, abs=1e-4)


def likeliest(model: Any, base: Path) -> float:
    """Return the log-probability of the likeliest first token of an answer to `Hello`."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    asked = [{"role": "user", "content": "Hello"}]
    prompt = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        return float(model.eval()(**prompt).logits[0, -1].log_softmax(-1).max())


@pytest.mark.exhaustive
def test_an_imported_adapter_is_evaluated_and_composed_like_one_that_a_job_has_trained(
    chat_api: Api,
    owner: Tenant,
    serving: Serving,
    import_file: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.rendering.renderer.subprocess", nursery().subprocess)
    base = serving.folder / "model"
    first, second = (
        import_file(packed(peft_files(base, tmp_path / str(rank), r=rank))).json() for rank in (4, 2)
    )
    made = composed(chat_api, owner, {first["model"]: 1.0, second["id"]: -0.5}, method="cat")
    assert (made["status"], made["report"]["rank"]) == ("succeeded", 6)
    rows = [chat_row("Zero?", "none"), chat_row("One?", "one")]
    file_id = owner.upload(b"".join(json.dumps(each).encode() + b"\n" for each in rows), "evals")
    eval_id = make_eval(owner, testing_criteria=[{"type": "loss", "name": "loss"}])
    source = {"type": "file_id", "id": file_id}
    runs, run_ids, expected = EvalRuns(serving, tmp_path), [], rendered(base, rows, "chat", 511)
    ids = {TINY: None, first["model"]: first["id"], made["fine_tuned_model"]: made["adapter_id"]}
    for model, adapter_id in ids.items():
        run_id = make_run(owner, eval_id, model=adapter_id or model, source=source, input_messages=None)
        runs.do_next(run_id)
        adapter = stored(chat_api, adapter_id) if adapter_id else None
        losses = [loss for loss, _ in by_transformers(serving, expected, adapter)]
        found = [record.results[0].score for record in runs.found(run_id).records]
        assert found == pytest.approx(losses, abs=1e-3)
        run_ids.append(run_id)
    for model, run_id in zip(ids, run_ids, strict=True):
        asked = {"base": run_ids[0], "tuned": run_id}
        compared = owner.http.get(f"{EVALS}/{eval_id}/compare", params=asked).json()
        assert (compared["compared_rows"], compared["tuned"]["model"]) == (2, model)


def stored(api: Api, adapter_id: str) -> StoredAdapter:
    with api.sessions() as session:
        row = session.get_one(Adapter, adapter_id)
        return StoredAdapter.of(row.object_prefix, row.files)


def test_the_command_line_imports_a_folder_and_creates_a_job_on_it(
    chat_api: Api, owner: Tenant, files: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "my-adapter"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "optimizer.pt").write_bytes(b"not needed")
    (tmp_path / "rows.jsonl").write_bytes(dataset(12))
    tunery = Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": owner.key})
    adapter = tunery.json("adapters", "import", folder, "--model", TINY, "--suffix", "by-hand")
    assert adapter["imported"]["filename"] == "my-adapter.zip"
    assert ":by-hand:" in adapter["model"]
    assert not [file for file in owner.openai.files.list() if file.filename == "my-adapter.zip"]
    job = tunery.json("jobs", "create", "rows.jsonl", "--model", adapter["model"])
    assert (job["model"], job["base_model"]) == (adapter["model"], TINY)
    owner.openai.fine_tuning.jobs.cancel(job["id"])
    (folder / WEIGHTS).write_bytes(files[WEIGHTS][:-4])
    ended = tunery.run("adapters", "import", folder, "--model", TINY)
    assert ended.returncode == 1
    assert WEIGHTS in ended.stderr
    assert not [file for file in owner.openai.files.list() if file.filename == "my-adapter.zip"]
