"""`validation_split` and `augmentation` on a job: what is accepted, and what the job then shows."""

from typing import Any

import pytest

from tests.fixtures.service.api import BASE_MODEL, Tenant, dataset, refusal

JOBS = "/v1/fine_tuning/jobs"
NOISE = {"typing_noise": 0.1}


@pytest.fixture(scope="module")
def file_id(alice: Tenant) -> str:
    return alice.upload(dataset(30))


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("validation_split", {"validation_split": 0}),
        ("validation_split", {"validation_split": 1.5}),
        ("validation_split", {"validation_split": 0.01}),
        ("validation_split", {"validation_split": 21}),
        ("validation_split", {"validation_split": 0.7}),
        ("augmentation", {"augmentation": {}}),
        ("augmentation.copies", {"augmentation": {"copies": 9, **NOISE}}),
        ("augmentation.typing_noise", {"augmentation": {"typing_noise": 0.9}}),
        ("augmentation.label_order", {"augmentation": {"label_order": ["one"]}}),
        ("augmentation.back_translation", {"augmentation": {"back_translation": True}}),
    ],
)
def test_what_cannot_be_is_refused_and_the_error_names_it(
    alice: Tenant, file_id: str, param: str, asked: dict[str, Any]
) -> None:
    answer = alice.http.post(JOBS, json={"model": BASE_MODEL, "training_file": file_id, **asked})
    refusal(answer, 400, param)


def test_a_split_does_not_go_with_a_validation_file(alice: Tenant, file_id: str) -> None:
    asked = {"training_file": file_id, "validation_file": file_id, "validation_split": 0.2}
    error = refusal(alice.http.post(JOBS, json={"model": BASE_MODEL, **asked}), 400, "validation_split")
    assert "validation_file" in error["message"]


def test_a_split_takes_the_place_of_a_validation_file(alice: Tenant, file_id: str) -> None:
    training = {"early_stopping_patience": 3, "eval_samples": 1}
    job = alice.create_job(training_file=file_id, validation_split=0.2, training=training, evaluate={})
    assert job["validation_split"] == 0.2
    assert job["validation_file"] is None
    assert job["evaluate"]["file"] is None
    assert job["prepared"] is None


def test_hyperparameters_follow_from_the_rows_that_are_trained(alice: Tenant) -> None:
    large = alice.upload(dataset(800))
    alone = alice.create_job(training_file=large)
    varied = alice.create_job(training_file=large, augmentation={"copies": 2, **NOISE})
    assert alone["hyperparameters"]["batch_size"] == 8
    assert varied["hyperparameters"]["batch_size"] == 24


def test_an_estimate_counts_the_rows_that_are_held_out_and_the_variants(alice: Tenant) -> None:
    large = alice.upload(dataset(200))
    asked = {
        "model": BASE_MODEL,
        "training_file": large,
        "hyperparameters": {"n_epochs": 1, "batch_size": 10},
    }

    def tokens(**more: Any) -> dict[str, Any]:
        answer = alice.http.post("/v1/fine_tuning/estimates", json={**asked, **more})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["tokens"])

    whole = tokens()
    made = tokens(validation_split=0.25, augmentation={"copies": 2, **NOISE})
    assert made["validation"] == pytest.approx(whole["count"] / 4, rel=0.02)
    assert made["count"] == pytest.approx(whole["count"] * 0.75 * 3, rel=0.02)
