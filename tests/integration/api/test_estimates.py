"""Estimates: checked as a new job is, nothing is created, and every job keeps its own."""

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.estimates.job.devices import DEVICE_NAMES
from core.estimates.job.report import Estimate
from core.jobs import token_counts
from core.tables import Job, TokenCount
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, dataset, refusal

ESTIMATES = "/v1/fine_tuning/estimates"
KNOWN = "small-model"
CONFIGURATION = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_attention_heads": 4,
    "vocab_size": 32000,
}


@pytest.fixture(autouse=True)
def fetched(api: Api) -> None:
    """Let the configuration of one base model be on the disk, as a trainer leaves it."""
    folder = api.settings.models_folder / KNOWN / "v2"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGURATION))


def estimated(alice: Tenant, model: str = KNOWN, **body: object) -> Estimate:
    body = {"model": model, **body}
    if "training_file" not in body:
        body["training_file"] = alice.upload()
    answer = alice.http.post(ESTIMATES, json=body)
    assert answer.status_code == 200, answer.text
    return Estimate.model_validate(answer.json())


def count(api: Api, file: str, max_length: int = 1024) -> None:
    """Count the tokens of a file, as a trainer does that has rendered it."""
    counted = TokenCount(
        file_id=file,
        tokenizer=f"{KNOWN}@v2",
        rendering="chat",
        max_length=max_length,
        rows=12,
        tokens=300,
        longest=40,
        squares=8000.0,
        computed_share=0.75,
    )
    with api.sessions.begin() as session:
        token_counts.keep(session, counted)


def test_an_estimate_has_every_device_and_creates_nothing(api: Api, alice: Tenant) -> None:
    found = estimated(alice, training_file=alice.upload(dataset(16)))
    assert [each.device for each in found.devices] == list(DEVICE_NAMES)
    assert all(each.fits and each.memory and each.seconds and each.options for each in found.devices)
    assert found.tokens.least < found.tokens.count < found.tokens.most
    with api.sessions() as session:
        mine = select(func.count()).select_from(Job).where(Job.project_id == alice.project_id)
        assert session.scalars(mine).one() == 0


def test_tokens_are_exact_once_the_file_was_rendered(api: Api, alice: Tenant) -> None:
    file = alice.upload(dataset(13))
    assert not estimated(alice, training_file=file).tokens.exact
    count(api, file)
    hyperparameters = {"n_epochs": 3}
    tokens = estimated(alice, training_file=file, hyperparameters=hyperparameters).tokens
    assert (tokens.count, tokens.exact, tokens.longest_row, tokens.computed) == (900, True, 40, 675)
    # Shorter rows are cut nowhere either, but a length below the longest row would cut some
    assert estimated(alice, training_file=file, training={"max_length": 64}).tokens.exact
    assert not estimated(alice, training_file=file, training={"max_length": 32}).tokens.exact


def test_a_copy_of_a_counted_file_is_counted_in_the_same_project_alone(
    api: Api, alice: Tenant, bob: Tenant
) -> None:
    """So `tunery files check PATH` and `tunery jobs estimate PATH` agree, which upload the file each."""
    rows = dataset(14)
    count(api, alice.upload(rows, purpose="user_data"))
    copied = estimated(alice, training_file=alice.upload(rows)).tokens
    assert (copied.per_epoch, copied.longest_row, copied.exact) == (300, 40, True)
    assert not estimated(alice, training_file=alice.upload(dataset(15))).tokens.exact
    assert not estimated(bob, training_file=bob.upload(rows)).tokens.exact


def test_rows_that_are_held_out_are_validated_on_and_not_trained_on(api: Api, alice: Tenant) -> None:
    file = alice.upload()
    count(api, file)
    split = estimated(alice, training_file=file, validation_split=2, hyperparameters={"n_epochs": 1}).tokens
    assert (split.per_epoch, split.validation, split.exact) == (250, 50, False)


def test_only_the_devices_that_are_asked_for_are_estimated(alice: Tenant) -> None:
    found = estimated(alice, devices=["h100", "this-machine", "h100"])
    assert [each.device for each in found.devices] == ["h100", "this-machine"]
    body = {"model": KNOWN, "training_file": alice.upload(), "devices": ["h1000"]}
    assert "rtx-4090" in refusal(alice.http.post(ESTIMATES, json=body), 400, "devices.0")["message"]


def test_a_model_that_is_not_on_the_disk_has_tokens_and_steps_but_no_memory(alice: Tenant) -> None:
    found = estimated(alice, BASE_MODEL)
    assert found.steps.count > 0
    assert found.disk is None
    assert all(each.fits is None for each in found.devices)
    assert any("configuration" in reason for reason in found.unknown)


def test_it_is_refused_as_a_new_job_is(alice: Tenant) -> None:
    missing = alice.http.post(ESTIMATES, json={"model": KNOWN, "training_file": "file-none"})
    refusal(missing, 400, "training_file", "invalid_file_id")
    few = {"model": KNOWN, "training_file": alice.upload(dataset(3))}
    refusal(alice.http.post(ESTIMATES, json=few), 400, "training_file", "invalid_n_examples")
    long = {"model": KNOWN, "training_file": alice.upload(), "training": {"max_length": 4096}}
    refusal(alice.http.post(ESTIMATES, json=long), 400, "training.max_length", "invalid_value")


def test_a_file_of_another_project_is_not_found(alice: Tenant, bob: Tenant) -> None:
    body = {"model": KNOWN, "training_file": alice.upload()}
    refusal(bob.http.post(ESTIMATES, json=body), 400, "training_file", "invalid_file_id")


def test_a_job_keeps_the_estimate_of_its_creation(api: Api, alice: Tenant) -> None:
    file = alice.upload()
    job = alice.create_job(model=KNOWN, training_file=file)
    expected = Estimate.model_validate(job["estimate"])
    assert [each.device for each in expected.devices] == ["this-machine"]
    assert expected.steps.count == job["hyperparameters"]["n_epochs"] * expected.steps.per_epoch
    count(api, file)
    assert alice.job(job["id"])["estimate"] == job["estimate"]
    assert job["measured"] is None
    alice.openai.fine_tuning.jobs.cancel(job["id"])


@pytest.mark.parametrize(
    ("changed", "basis"),
    [({}, "measured"), ({"device": "Another GPU"}, "rule"), ({"quantization": "nf4"}, "rule")],
)
def test_only_a_rate_of_the_same_device_and_precision_is_a_measured_one(
    api: Api, alice: Tenant, adapter_folder: Path, changed: dict[str, str], basis: str
) -> None:
    here = estimated(alice, devices=["this-machine"]).devices[0].title
    past = alice.create_job(model=KNOWN)
    found = {"trained_seconds": 2.0, "trained_tokens": 300, "device": here, "quantization": "none", **changed}
    api.finish(api.claim(past["id"]), adapter_folder)
    with api.sessions.begin() as session:
        session.get_one(Job, past["id"]).measured = found
    assert alice.job(past["id"])["measured"]["quantization"] == found["quantization"]
    (device,) = estimated(alice, devices=["this-machine"]).devices
    with api.sessions.begin() as session:
        session.get_one(Job, past["id"]).measured = None  # so that no other test follows it
    assert device.seconds
    assert device.seconds.basis == basis
