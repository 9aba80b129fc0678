"""Jobs whose rows have images: from the request to an adapter that plain transformers and PEFT load."""

import json
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoProcessor

from cli.embedded import EmbeddedServers
from core.images.decoding import pixels_of
from core.images.parts import encoded_image
from tests.fixtures.models.tiny import TINY, named_class, write_catalog
from tests.fixtures.models.vision import save_vision_model, smolvlm
from tests.fixtures.rows.images import about, data_url, encoded, image_part, picture
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.service.trainer import job_of, running

JOBS = "/v1/fine_tuning/jobs"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_vision_model(smolvlm, folder / "model")
    write_catalog(folder / "catalog.toml", folder / "model", dtype="fp32")
    return folder


@pytest.fixture(scope="module")
def vision_api(servers: EmbeddedServers, database_url: str, folder: Path) -> Iterator[Api]:
    with job_api_on(servers, database_url, catalog_file=folder / "catalog.toml") as api:
        yield api


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return questions about the colour of an image that is all of one colour, or nearly."""
    names = list(COLOURS)
    found = []
    for number in range(first, first + count):
        name = names[number % len(names)]
        image = picture(32, 32)
        image.paste(COLOURS[name], (0, 0, 32, 32))
        image.putpixel((number % 32, number // 32), (0, 0, 0))
        found.append(about(image_part(data_url(encoded(image))), text="Which colour?", answer=name))
    return found


def lines(found: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in found)


def trained(api: Api, tenant: Tenant, **options: Any) -> str:
    job = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(lines(rows(32))),
        validation_file=tenant.upload(lines(rows(12, 100))),
        hyperparameters={"n_epochs": 4, "batch_size": 4},
        training={"learning_rate": 1e-2, "lr_scheduler_type": "constant", "warmup_ratio": 0},
        seed=3,
        **options,
    )
    job_id = str(job["id"])
    with running(api):
        wait_for(lambda: job_of(api, job_id).status not in ("queued", "running"), 240)
    found = job_of(api, job_id)
    assert found.status == "succeeded", found.error
    return job_id


def metrics_of(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found = tenant.http.get(f"{JOBS}/{job_id}/metrics", params={"after_step": -1}).json()
    return list(found["data"])


def adapter_of(tenant: Tenant, job_id: str, folder: Path) -> Path:
    shown = tenant.http.get(f"{JOBS}/{job_id}").json()
    content = tenant.http.get(f"/v1/adapters/{shown['adapter_id']}/content").content
    with zipfile.ZipFile(BytesIO(content)) as files:
        files.extractall(folder)
    return folder


def plain_loss(base: Path, adapter: Path, found: list[dict[str, Any]]) -> float:
    """Return the mean loss of the answers' tokens by plain transformers and PEFT, from the images."""
    processor: Any = AutoProcessor.from_pretrained(base)
    whole = named_class(base).from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(whole, adapter).eval()
    losses = []
    for row in found:
        asked, answer = row["messages"]
        name = answer["content"]
        image = pixels_of(encoded_image(asked["content"][0]["image_url"]["url"]).content)
        chat = [{"role": "user", "content": [{"type": "image"}, asked["content"][1]]}]
        prompt = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        text = f"{prompt}{name}<|im_end|>"
        inputs = processor(images=[image], text=[text], return_tensors="pt", do_image_splitting=False)
        learnt = len(processor.tokenizer(f"{name}<|im_end|>")["input_ids"])
        with torch.no_grad():
            logits = model(**inputs).logits[0, -learnt - 1 : -1]
        losses.append(F.cross_entropy(logits, inputs["input_ids"][0, -learnt:], reduction="none"))
    return float(torch.cat(losses).mean())


def test_the_validation_loss_is_that_of_plain_peft_on_the_images(
    vision_api: Api, folder: Path, tmp_path: Path
) -> None:
    alice = vision_api.tenant()
    job_id = trained(vision_api, alice)
    series = metrics_of(alice, job_id)
    validations = [each["full_valid_loss"] for each in series if each.get("full_valid_loss") is not None]
    assert validations[-1] < validations[0]
    adapter = adapter_of(alice, job_id, tmp_path)
    assert plain_loss(folder / "model", adapter, rows(12, 100)) == pytest.approx(validations[-1], rel=1e-3)
