"""A DyLoRA job, from the request to adapters of several ranks that plain PEFT loads."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.demo.compare import mean_loss
from cli.embedded import EmbeddedServers
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Tenant, dataset, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running

R = 6
ROWS = dataset(12)


def create(tenant: Tenant, **adapter: object) -> str:
    files = {"training_file": tenant.upload(ROWS), "validation_file": tenant.upload(ROWS)}
    body = {
        "adapter": {"r": R, "lora_alpha": 16, **adapter},
        "hyperparameters": {"n_epochs": 3, "batch_size": 4},
        "training": {"learning_rate": 2e-3},
    }
    return str(tenant.create_job(model=TINY, **files, **body)["id"])


@pytest.mark.exhaustive
def test_any_rank_of_the_adapter_has_in_plain_peft_the_loss_that_the_table_says(
    servers: EmbeddedServers, database_url: str, tmp_path: Path
) -> None:
    catalog = write_base(tmp_path, dtype="fp32")
    with job_api_on(servers, database_url, catalog_file=catalog) as api:
        tenant = api.tenant()
        dynamic, usual = create(tenant, dynamic_rank=True), create(tenant)
        with running(api):
            for job_id in (dynamic, usual):
                wait_for(lambda job_id=job_id: job_of(api, job_id).status not in ("queued", "running"), 240)
        assert {job_of(api, job_id).status for job_id in (dynamic, usual)} == {"succeeded"}

        path = f"/v1/adapters/{tenant.job(dynamic)['adapter_id']}"
        table = tenant.http.get(f"{path}/ranks").json()["data"]
        losses = {entry["rank"]: entry["full_valid_loss"] for entry in table}
        assert list(losses) == [1, 2, 4, 6]
        series = tenant.http.get(f"/v1/fine_tuning/jobs/{dynamic}/metrics").json()["data"]
        assert losses[R] == pytest.approx(series[-1]["full_valid_loss"])
        assert len({point["adapter_rank"] for point in series}) > 2
        archives = {
            rank: tenant.http.get(f"{path}/content", params={"rank": rank}) for rank in range(1, R + 1)
        }
        archives[0] = tenant.http.get(f"{path}/content")
        for rank, words in ((R + 1, "the adapter has 6 ranks"), (0, "rank")):
            refused = tenant.http.get(f"{path}/content", params={"rank": rank})
            assert refused.status_code == 400
            assert words in refused.json()["error"]["message"]

        of_usual = f"/v1/adapters/{tenant.job(usual)['adapter_id']}"
        assert tenant.http.get(f"{of_usual}/ranks").json()["data"] == []
        assert tenant.http.get(f"{of_usual}/content", params={"rank": 2}).status_code == 400
        assert api.tenant().http.get(f"{path}/ranks").status_code == 404

    rows = [json.loads(line)["messages"] for line in ROWS.splitlines()]
    for rank, archive in archives.items():
        folder = tmp_path / f"rank-{rank}"
        zipfile.ZipFile(io.BytesIO(archive.content)).extractall(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        for entry in manifest["files"]:
            content = (folder / entry["name"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), folder)
        assert plain.peft_config["default"].r == (rank or R)
        loss = mean_loss(plain, AutoTokenizer.from_pretrained(folder), rows)
        if (rank or R) in losses:
            assert loss == pytest.approx(losses[rank or R], rel=1e-3), rank
        assert rank == 0 or manifest["truncated_to_rank"] == rank
