"""Compositions through the API: the result is one adapter, like any other, whatever happens on the way."""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from sqlalchemy import select, update
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import answers, mean_loss
from core.access.projects import find_project, set_quotas
from core.artifacts import stored_bytes
from core.roles import Role
from core.serving.served_model import StoredAdapter
from core.tables import Adapter, Artifact, Checkpoint, Task
from core.work import client as clients
from core.work import lease as leases
from core.work.kinds import EXPORT, names_in
from tests.fixtures.models.tiny import OTHER, TINY
from tests.fixtures.processes.tasks import WarmTasks, task_process
from tests.fixtures.service.api import Api, Tenant, dataset, refusal, row
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.serving import Serving
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.compositions import AT, Part, composed, part, started, weighted, work_on
from tests.fixtures.work.imports import importing_worker
from tests.fixtures.work.requests import REQUESTS
from tests.fixtures.work.taking import take
from worker.tasks.frame.work import Work

COMPOSE, ADAPTERS = "/v1/adapters/compose", "/v1/adapters"
SECONDS = 240
NONE = "adapter-" + "0" * 32


@pytest.fixture(scope="module")
def tenant(chat_api: Api) -> Tenant:
    return chat_api.tenant("composes")


@pytest.fixture(scope="module")
def stored(serving: Serving) -> tuple[StoredAdapter, StoredAdapter]:
    return serving.adapter(seed=1), serving.adapter(seed=2)


@pytest.fixture(scope="module")
def parts(chat_api: Api, tenant: Tenant, stored: tuple[StoredAdapter, StoredAdapter]) -> tuple[Part, Part]:
    first, second = (part(chat_api, tenant, each) for each in stored)
    return first, second


def adapters_of(api: Api, composition_id: str) -> list[str]:
    """Return the ids of all adapters that the composition has made."""
    made = Adapter.origin["composition_id"].astext == composition_id
    with api.sessions() as session:
        return list(session.scalars(select(Adapter.id).where(made)))


def unpacked(tenant: Tenant, adapter_id: str, folder: Path) -> Path:
    content = tenant.http.get(f"{ADAPTERS}/{adapter_id}/content").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


def weights_of(adapter: dict[str, Any]) -> str:
    return next(file["sha256"] for file in adapter["files"] if file["name"].endswith(".safetensors"))


def in_peft(serving: Serving, folder: Path) -> tuple[Any, Any]:
    """Return the base model with the adapter in plain PEFT, and the tokenizer."""
    base: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", pad_token="<|im_end|>")
    return PeftModel.from_pretrained(base, folder).eval(), tokenizer


def test_a_composed_adapter_is_like_one_that_a_job_has_trained(
    chat_api: Api, tenant: Tenant, serving: Serving, parts: tuple[Part, Part], tmp_path: Path
) -> None:
    first, second = parts
    weights = {first.model: 25.0, second.adapter_id: -12.5}
    with chat_api.sessions() as session:
        held = stored_bytes(session, tenant.project_id)
    made = composed(chat_api, tenant, weights, method="cat", suffix="both", seed=3)
    assert (made["status"], made["error"], made["progress"]["percent"]) == ("succeeded", None, 100)
    assert made["report"] == {"weights": [25.0, -12.5], "rank": 8, "layers": 9}
    assert made["request"]["adapters"] == weighted(weights)
    assert made["fine_tuned_model"].startswith(f"ft:{TINY}:composes:both:")
    (listed,) = tenant.http.get(AT, params={"limit": 1}).json()["data"]
    assert listed == made

    adapter = tenant.http.get(f"{ADAPTERS}/{made['adapter_id']}").json()
    assert (adapter["job_id"], adapter["imported"], adapter["type"]) == (None, None, "lora")
    assert (adapter["model"], adapter["base_model"]) == (made["fine_tuned_model"], TINY)
    composed_from = adapter["composed"]
    assert composed_from | {"density": 0} == {
        "composition_id": made["id"],
        "method": "cat",
        "density": 0,
        "majority_sign_method": None,
        "svd_rank": None,
        "svd_clamp": None,
        "seed": 3,
    }
    named = [
        (each["model"], each["adapter_id"], each["job_id"], each["weight"]) for each in adapter["lineage"]
    ]
    assert named == [(*first, 25.0), (*second, -12.5)]
    assert adapter["model"] in [model.id for model in tenant.openai.models.list()]
    for each in parts:
        assert tenant.http.get(ADAPTERS, params={"part": each.adapter_id}).json()["data"] == [adapter]
    assert tenant.http.get(ADAPTERS, params={"part": adapter["id"]}).json()["data"] == []
    size = sum(file["bytes"] for file in adapter["files"])
    with chat_api.sessions() as session:
        request_and_report = select(Artifact.bytes).where(Artifact.owner_id == made["id"])
        asked = session.scalars(request_and_report).one()
        assert stored_bytes(session, tenant.project_id) == held + size + asked, "it counts once for the quota"

    folder = unpacked(tenant, adapter["id"], tmp_path / "composed")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [each["weight"] for each in manifest["composed"]["parents"]] == [25.0, -12.5]
    card = (folder / "README.md").read_text()
    assert first.model in card
    assert "## Where it loads" in card

    serving.start()
    model, tokenizer = in_peft(serving, folder)
    prompt = [{"role": "user", "content": "Hello"}]
    (expected,) = answers(model, tokenizer, [prompt], max_new_tokens=8)
    asked: Any = {"model": adapter["model"], "messages": prompt, "temperature": 0, "max_tokens": 8}
    answer = tenant.openai.chat.completions.create(**asked).choices[0].message.content
    assert (answer or "").strip() == expected
    assert (
        answer != tenant.openai.chat.completions.create(**{**asked, "model": TINY}).choices[0].message.content
    )

    job = tenant.create_job(model=adapter["model"])
    chain = [(each["adapter_id"], each["weight"]) for each in job["lineage"]]
    assert chain == [(adapter["id"], None), (first.adapter_id, 25.0), (second.adapter_id, -12.5)]
    assert (job["adapter"]["r"], job["adapter"]["lora_alpha"]) == (8, 8)
    refusal(tenant.http.delete(f"{ADAPTERS}/{adapter['id']}"), 409, code="model_in_use")
    tenant.openai.fine_tuning.jobs.cancel(job["id"])

    content = tenant.http.get(f"{ADAPTERS}/{adapter['id']}/content").content
    body = {"file": tenant.upload(content, "user_data", "composed.zip"), "base_model": TINY}
    with importing_worker(chat_api):
        imported = tenant.http.post(ADAPTERS, json=body, timeout=120)
    assert imported.status_code == 200, imported.text
    assert weights_of(imported.json()) == weights_of(adapter)


def test_found_weights_are_no_worse_and_their_loss_is_plain_pefts(
    chat_api: Api, tenant: Tenant, serving: Serving, parts: tuple[Part, Part], tmp_path: Path
) -> None:
    one, other = dataset(12), b"".join(json.dumps(row(f"{n} times {n}")).encode() + b"\n" for n in range(12))
    files = [tenant.upload(content) for content in (one, other)]
    search = {"files": files, "rows": 12, "trials": 6}
    weights = {each.model: 1.0 for each in parts}
    made = composed(chat_api, tenant, weights, method="linear", search=search)
    assert made["error"] is None
    trials, report = made["report"]["trials"], made["report"]
    assert trials[0]["weights"] == [1.0, 1.0]
    assert len(trials) == 6
    best = min(trials, key=lambda trial: trial["loss"])
    assert report["weights"] == best["weights"]
    assert best["loss"] < trials[0]["loss"]
    adapter = tenant.http.get(f"{ADAPTERS}/{made['adapter_id']}").json()
    assert [each["weight"] for each in adapter["lineage"]] == best["weights"]
    model, tokenizer = in_peft(serving, unpacked(tenant, made["adapter_id"], tmp_path))
    with torch.inference_mode():
        losses = [
            mean_loss(model, tokenizer, [json.loads(line)["messages"] for line in content.splitlines()])
            for content in (one, other)
        ]
    assert best["losses"] == pytest.approx(losses, rel=1e-5)


def token_accuracy(model: Any, tokenizer: Any, rows: list[list[dict[str, str]]]) -> float:
    """Return the share of the last messages' tokens that are the likeliest ones after those before them."""
    right: list[torch.Tensor] = []
    for messages in rows:
        prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip()
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        right.append(model(input_ids=tokens).logits[0, start - 1 : -1].argmax(-1) == tokens[0, start:])
    return float(torch.cat(right).float().mean())


def test_a_search_for_right_tokens_counts_them_as_plain_peft_does(
    chat_api: Api, tenant: Tenant, serving: Serving, parts: tuple[Part, Part], tmp_path: Path
) -> None:
    content = dataset(6)
    search = {"files": [tenant.upload(content)], "rows": 6, "trials": 4, "criterion": "token_accuracy"}
    made = composed(chat_api, tenant, {each.model: 1.0 for each in parts}, method="cat", search=search)
    assert made["error"] is None
    trials = made["report"]["trials"]
    best = max(trials, key=lambda trial: (trial["score"], -trial["loss"]))
    assert made["report"]["weights"] == best["weights"]
    model, tokenizer = in_peft(serving, unpacked(tenant, made["adapter_id"], tmp_path))
    with torch.inference_mode():
        rows = [json.loads(line)["messages"] for line in content.splitlines()]
        assert best["scores"] == [pytest.approx(token_accuracy(model, tokenizer, rows))]


def test_each_layer_and_each_row_is_progress(chat_api: Api, tenant: Tenant, parts: tuple[Part, Part]) -> None:
    search = {"files": [tenant.upload(dataset(12))], "rows": 3, "trials": 2}
    composition_id = started(tenant, {each.model: 1.0 for each in parts}, method="cat", search=search)
    done: list[float] = []

    class Noted(Work):
        def progress(self, phase: str, share: float) -> None:
            super().progress(phase, share)
            done.append(share)

    work_on(chat_api, take(chat_api, composition_id), Noted)
    layers = tenant.http.get(f"{AT}/{composition_id}").json()["report"]["layers"]
    assert done == sorted(done)
    assert len(set(done)) > 2 * (layers + 3) + layers


def test_a_search_gives_way_to_another_project_between_its_trials_and_makes_each_trial_once(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part]
) -> None:
    search = {"files": [tenant.upload(dataset(12))], "rows": 3, "trials": 4}
    weights = {each.model: 1.0 for each in parts}
    asked = {"method": "cat", "search": search, "seed": 1}
    whole = composed(chat_api, tenant, weights, **asked)
    searching = started(tenant, weights, **asked)
    phases: list[str] = []

    class Noted(Work):
        share_seconds = 0.0

        def progress(self, phase: str, share: float) -> None:
            super().progress(phase, share)
            phases.append(phase)

    other = chat_api.tenant()
    for number in (1, 2):
        waiting = exported(chat_api, other)
        work_on(chat_api, take(chat_api, searching), Noted)
        shown = tenant.http.get(f"{AT}/{searching}").json()
        assert (shown["status"], len(shown["report"]["trials"])) == ("queued", number)
        with chat_api.sessions.begin() as session:
            lease = leases.take(session, "another process", names_in("computing"))
            assert lease is not None
            assert lease.task_id == waiting
            clients.cancel(session, session.get_one(Task, waiting))
    work_on(chat_api, take(chat_api, searching), Noted)
    found = tenant.http.get(f"{AT}/{searching}").json()
    assert (found["status"], found["report"]) == ("succeeded", whole["report"])
    trials = [phase for phase, _ in groupby(phases) if phase.startswith("trial ")]
    assert trials == [f"trial {number} of 4" for number in (1, 2, 3, 4)], "each was made once"


def exported(api: Api, tenant: Tenant) -> str:
    """Put an export into the queue, and return its id."""
    with api.sessions.begin() as session:
        return clients.create(session, tenant.project_id, EXPORT, REQUESTS["export"], None).id


def test_a_composed_adapter_waits_to_be_measured_where_its_worker_measures(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part]
) -> None:
    found = []
    for measures in (False, True):
        composition_id = started(tenant, dict.fromkeys((each.model for each in parts), 1.0))
        work_on(chat_api, take(chat_api, composition_id), portability_at_publication=measures)
        adapter_id = tenant.http.get(f"{AT}/{composition_id}").json()["adapter_id"]
        at = f"{ADAPTERS}/{adapter_id}/portability"
        found.append(tenant.http.get(at).json()["measurement"])
    assert found[0] is None
    assert found[1]["status"] == "queued"
    assert tenant.http.post(f"{at}/cancel").is_success


def test_a_composition_goes_without_its_adapter_and_an_adapter_with_its_composition(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {each.model: 1.0 for each in parts}
    first, second = (composed(chat_api, tenant, weights, method="ties") for _ in range(2))
    assert tenant.http.delete(f"{AT}/{first['id']}").json()["deleted"]
    clean(chat_api, GRACE_OVER)
    refusal(tenant.http.get(f"{AT}/{first['id']}"), 404, "composition_id", "composition_not_found")
    content = tenant.http.get(f"{ADAPTERS}/{first['adapter_id']}/content")
    assert zipfile.ZipFile(io.BytesIO(content.content)).testzip() is None

    assert tenant.http.delete(f"{ADAPTERS}/{second['adapter_id']}").status_code == 200
    refusal(tenant.http.get(f"{AT}/{second['id']}"), 404, "composition_id")
    clean(chat_api, GRACE_OVER)
    assert chat_api.store.list(f"compositions/{second['id']}/") == []
    assert chat_api.store.list(f"compositions/{first['id']}/") != []


def test_a_part_that_is_deleted_meanwhile_ends_the_composition_clearly(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], stored: tuple[StoredAdapter, StoredAdapter]
) -> None:
    gone = part(chat_api, tenant, stored[0])
    composition_id = started(tenant, {parts[1].model: 1.0, gone.model: 1.0})
    lease = take(chat_api, composition_id)
    assert tenant.http.delete(f"{ADAPTERS}/{gone.adapter_id}").status_code == 200
    work_on(chat_api, lease)
    failed = tenant.http.get(f"{AT}/{composition_id}").json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "model_deleted")
    assert gone.model in failed["error"]["message"]
    assert (failed["adapter_id"], failed["fine_tuned_model"]) == (None, None)
    assert chat_api.store.list(f"compositions/{composition_id}/") == []


@pytest.mark.parametrize(
    ("options", "changes", "says"),
    [
        ({}, {"lora_A": lambda tensor: tensor * float("nan")}, "not finite"),
        ({}, {"layers.0.self_attn.q_proj.lora_B": lambda tensor: tensor[:5]}, "shapes"),
        ({"r": 6}, {}, "needs one rank"),
    ],
    ids=["nan", "shape", "rank"],
)
def test_files_that_are_not_what_their_job_says_make_no_adapter(
    chat_api: Api,
    tenant: Tenant,
    serving: Serving,
    parts: tuple[Part, Part],
    options: dict[str, Any],
    changes: dict[str, Callable[[Any], Any]],
    says: str,
) -> None:
    wrong = part(chat_api, tenant, serving.adapter(seed=5, **options, **changes))
    failed = composed(chat_api, tenant, {parts[0].model: 1.0, wrong.model: 1.0}, method="linear")
    assert failed["status"] == "failed"
    assert says in failed["error"]["message"]
    assert adapters_of(chat_api, failed["id"]) == []


def refused(
    tenant: Tenant, param: str, code: str, says: str, adapters: list[dict[str, Any]], **body: Any
) -> None:
    answer = tenant.http.post(COMPOSE, json={"adapters": adapters, **body})
    assert says in refusal(answer, 400, param, code)["message"]


def test_an_adapter_that_does_not_fit_into_the_quota_is_not_made(
    chat_api: Api, parts: tuple[Part, Part], tenant: Tenant
) -> None:
    with chat_api.sessions.begin() as session:
        project = find_project(session, tenant.project)
        set_quotas(session, project, {"stored_bytes": stored_bytes(session, project.id) + 1000})
    try:
        made = composed(chat_api, tenant, {part.model: 1.0 for part in parts}, method="cat")
    finally:
        with chat_api.sessions.begin() as session:
            set_quotas(session, find_project(session, tenant.project), {"stored_bytes": None})
    assert (made["status"], made["error"]["code"]) == ("failed", "insufficient_quota")
    assert adapters_of(chat_api, made["id"]) == []
    assert chat_api.store.list(f"compositions/{made['id']}/") == []


def test_a_wrong_request_is_refused_with_the_reason(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], stored: tuple[StoredAdapter, StoredAdapter]
) -> None:
    first, second = ({"adapter": each.model} for each in parts)
    both, invalid = [first, second], "invalid_value"
    refused(tenant, "adapters.0.adapter", "not_an_adapter", "base model", [{"adapter": TINY}])
    refused(tenant, "adapters.1.adapter", "model_not_available", "does not exist", [first, {"adapter": NONE}])
    twice = [first, second, {"adapter": parts[0].adapter_id}]
    refused(tenant, "adapters.2.adapter", invalid, "twice", twice)
    refused(tenant, "adapters", invalid, "1 to 16 items", both * 50)
    refused(tenant, "adapters", invalid, "1 to 16 items", [])
    refused(tenant, "adapters.1.weight", invalid, "from -100 to 100", [first, {**second, "weight": 1e9}])
    refused(tenant, "adapters", invalid, "All weights are 0", [{**first, "weight": 0}])
    refused(tenant, "density", invalid, "not an option of the method 'cat'", both, method="cat", density=0.5)
    refused(tenant, "svd_rank", invalid, "not an option", both, method="ties", svd_rank=4)
    refused(tenant, "method", invalid, "On offer", both, method="slerp")
    missing = {"files": ["file-" + "0" * 32]}
    refused(tenant, "search.files.0", "invalid_file_id", "No such File", both, search=missing)
    usual = {"files": missing["files"] * 8}  # within the bound
    refused(tenant, "search.files.0", "invalid_file_id", "No such File", both, search=usual)
    large = usual | {"rows": 512, "trials": 64}
    refused(tenant, "search.rows", invalid, "262144 rows: 8 files x 512 rows x 64 trials", both, search=large)
    raw = {"files": [tenant.upload(b"x", "user_data")]}
    refused(tenant, "search.files.0", "invalid_file_purpose", "chat rows", both, search=raw)
    answer = tenant.http.post(
        COMPOSE,
        content=json.dumps({"adapters": [{**first, "weight": float("nan")}]}),
        headers={"content-type": "application/json"},
    )
    refusal(answer, 400)

    def with_(base: str = TINY, **adapter: Any) -> dict[str, str]:
        return {"adapter": part(chat_api, tenant, stored[1], base, **adapter).model}

    other = "adapters.1.adapter"
    refused(tenant, other, "different_base_models", "one base model", [first, with_(OTHER)])
    refused(tenant, other, "adapter_not_composable", "DoRA", [first, with_(use_dora=True)])
    eight, wide = with_(r=8), with_(r=256)
    refused(tenant, "method", "different_ranks", "ranks 4, 8", [first, eight], method="ties")
    refused(tenant, "method", "rank_too_large", "rank 260", [first, wide], method="cat")
    refused(tenant, other, "adapter_not_composable", "'ia3'", [first, with_(type="ia3")])


def test_another_project_composes_what_is_shared_with_it_and_sees_nothing_else(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], stored: tuple[StoredAdapter, StoredAdapter]
) -> None:
    other = chat_api.tenant()
    own, (shared, foreign) = part(chat_api, other, stored[1]), parts
    admin = chat_api.tenant("composes", Role.ADMIN).openai.fine_tuning.checkpoints.permissions
    admin.create(shared.model, project_ids=[other.project_id])
    made = composed(chat_api, other, {own.model: 1.0, shared.model: 0.5}, method="linear")
    assert made["status"] == "succeeded"
    named = [{"adapter": own.model}, {"adapter": foreign.model}]
    refused(other, "adapters.1.adapter", "model_not_available", "does not exist", named)

    assert made["id"] not in tenant.http.get(AT, params={"limit": 1000}).text
    for answer in (
        tenant.http.get(f"{AT}/{made['id']}"),
        tenant.http.post(f"{AT}/{made['id']}/cancel"),
        tenant.http.delete(f"{AT}/{made['id']}"),
    ):
        refusal(answer, 404, "composition_id", "composition_not_found")
    refusal(tenant.http.get(f"{ADAPTERS}/{made['adapter_id']}"), 404, "adapter_id")
    refused(tenant, "adapters.0.adapter", "model_not_available", "", [{"adapter": made["fine_tuned_model"]}])
    share = f"/v1/fine_tuning/checkpoints/{made['fine_tuned_model']}/permissions"
    stranger = chat_api.tenant(other.project, Role.ADMIN).http
    answer = stranger.post(share, json={"project_ids": [tenant.project_id]})
    refusal(answer, 400, "fine_tuned_model_checkpoint", "model_not_shareable")


def test_checkpoints_and_aliases_are_parts_too(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], stored: tuple[StoredAdapter, StoredAdapter]
) -> None:
    options = {"r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    lease = chat_api.claim(tenant.create_job(model=TINY, adapter=options)["id"])
    checkpoint_id = chat_api.checkpoint(lease, 3)
    files = [file.model_dump() for file in stored[1].files]
    with chat_api.sessions.begin() as session:
        row_of = update(Checkpoint).where(Checkpoint.id == checkpoint_id)
        session.execute(row_of.values(object_prefix=stored[1].prefix, files=files))
    (name,) = (
        each["fine_tuned_model_checkpoint"]
        for each in tenant.http.get(f"/v1/fine_tuning/jobs/{lease.job_id}/checkpoints").json()["data"]
    )
    assert tenant.http.post("/v1/aliases", json={"name": "best", "model": parts[0].model}).is_success
    refused(tenant, "adapters.0.adapter", "model_not_kept", "still trains", [{"adapter": name}])
    tenant.openai.fine_tuning.jobs.cancel(lease.job_id)
    made = composed(chat_api, tenant, {name: 0.5, "best": 0.5}, method="linear")
    assert made["error"] is None
    adapter = tenant.http.get(f"{ADAPTERS}/{made['adapter_id']}").json()
    assert [(each["model"], each["step"]) for each in adapter["lineage"]] == [
        (name, 3),
        (parts[0].model, None),
    ]


@pytest.fixture
def tasks(chat_api: Api, serving: Serving) -> Iterator[WarmTasks]:
    with WarmTasks(chat_api.sessions, ["composition"], serving.environment()) as tasks:
        yield tasks


def test_the_command_line_composes_once_though_the_first_process_is_killed(
    chat_api: Api, tenant: Tenant, parts: tuple[Part, Part], tasks: WarmTasks, tmp_path: Path
) -> None:
    killer = threading.Thread(target=lambda: task_process().kill())
    killer.start()
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": chat_api.url, "TUNERY_API_KEY": tenant.key})
    named = f"{parts[0].model}:0.7", f"{parts[1].adapter_id}:-0.3"
    made = shell.json("adapters", "compose", *named, "--method", "ties", "--density", "0.6")
    killer.join()
    assert [each["weight"] for each in made["request"]["adapters"]] == [0.7, -0.3]
    assert made["request"]["density"] == 0.6
    assert adapters_of(chat_api, made["id"]) == [made["adapter_id"]]
    with chat_api.sessions() as session:
        task = session.get_one(Task, made["id"])
    assert (task.fence, task.losses) == (2, 1)
