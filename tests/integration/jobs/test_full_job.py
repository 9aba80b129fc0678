"""A job of full fine-tuning, from the request to a model that plain transformers loads."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import dataset, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running
from worker.engine.adapters.modules import whole_model

ROWS = dataset(12)
LOSS_IN_PLAIN_TRANSFORMERS = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from cli.demo.compare import mean_loss

model, tokenizer = (auto.from_pretrained(sys.argv[1]) for auto in (AutoModelForCausalLM, AutoTokenizer))
print(mean_loss(model, tokenizer, [json.loads(line)["messages"] for line in open(sys.argv[2])]))
"""


@pytest.mark.exhaustive
def test_a_full_job_leaves_a_model_that_gives_the_job_s_loss_in_plain_transformers(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path, dtype="fp32")
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        files = {"training_file": tenant.upload(ROWS), "validation_file": tenant.upload(ROWS)}
        job = tenant.create_job(
            model=TINY,
            **files,
            adapter={"type": "full"},
            hyperparameters={"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 50.0},
        )
        assert (job["adapter"], job["training"]["learning_rate"]) == ({"type": "full"}, 2e-5)
        with running(api):
            wait_for(lambda: job_of(api, job["id"]).status not in ("queued", "running"), 240)
        assert job_of(api, job["id"]).error is None
        adapter_id = tenant.job(job["id"])["adapter_id"]
        found = tenant.http.get(f"/v1/adapters/{adapter_id}").json()
        assert (found["kind"], found["type"]) == ("model", "full")
        assert [each["kind"] for each in tenant.http.get("/v1/adapters").json()["data"]] == ["model"]
        checkpoints = tenant.openai.fine_tuning.jobs.checkpoints.list(job["id"])
        assert [each.step_number for each in checkpoints] == [12, 9, 6]
        events = [event.data for event in tenant.openai.fine_tuning.jobs.list_events(job["id"])]
        archive = tenant.http.get(f"/v1/adapters/{adapter_id}/content").content
    metrics = {data["step"]: data for data in events if data and "train_loss" in data}
    assert metrics[12]["train_loss"] < metrics[1]["train_loss"]

    folder = tmp_path / "tuned"
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    listed = {file["name"] for file in found["files"]}
    assert {path.name for path in folder.iterdir()} == listed
    assert listed >= {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"}
    assert str(tmp_path) not in (folder / "config.json").read_text(), "clients see no path of the worker's"
    assert "library_name: transformers" in (folder / "README.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {file["name"] for file in manifest["files"]} == listed - {"manifest.json"}
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    arguments = [LOSS_IN_PLAIN_TRANSFORMERS, str(folder), str(tmp_path / "rows.jsonl")]
    loss = subprocess.run(
        [sys.executable, "-c", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert float(loss.stdout) == pytest.approx(metrics[12]["full_valid_loss"], rel=1e-3)


def test_a_full_job_that_does_not_fit_into_memory_fails_before_its_first_step(
    servers: EmbeddedServers, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_base(tmp_path)
    monkeypatch.setattr(whole_model, "free_bytes", lambda _: 10**6)
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        job_id = tenant.create_job(model=TINY, training_file=tenant.upload(ROWS), adapter={"type": "full"})[
            "id"
        ]
        with running(api):
            wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
        shown = tenant.job(job_id)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "out_of_memory")
    assert "only 0.8 MB can be used" in shown["error"]["message"]
    assert shown["progress"]["step"] == 0
